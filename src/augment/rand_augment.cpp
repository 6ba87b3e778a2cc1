#include "maskedkd/augment/rand_augment.hpp"

#include "maskedkd/base/enum_names.hpp"
#include "maskedkd/base/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

namespace maskedkd {
namespace {

constexpr double kScale = 10;  // the magnitude that has an operation's full effect
constexpr double kMostDeviation = 100;
constexpr const char* kSections = "after rand, separated by '-': m9 mstd0.5 mmax10 n2 p0.5 inc1 t3a t3aw tweights w0";

// How a magnitude is converted into an operation's argument.
enum class Scale { none, rotate, posterize, solarize, solarize_add, enhance, shear, translate, desaturate, blur };

// One entry of a set of operations. increasing: whether its effect grows with the magnitude.
struct Entry {
  OperationKind kind;
  Scale scale;
  bool increasing = false;
  double weight = 1;
};

using Kind = OperationKind;

// All 15 in timm's order, with the weights of timm 0.3.2.
std::vector<Entry> all_entries(bool increasing) {
  return {{Kind::auto_contrast, Scale::none, false, 0.025},
          {Kind::equalize, Scale::none, false, 0.005},
          {Kind::invert, Scale::none, false, 0},
          {Kind::rotate, Scale::rotate, false, 0.3},
          {Kind::posterize, Scale::posterize, increasing, 0},
          {Kind::solarize, Scale::solarize, increasing, 0.005},
          {Kind::solarize_add, Scale::solarize_add, false, 0.005},
          {Kind::color, Scale::enhance, increasing, 0.025},
          {Kind::contrast, Scale::enhance, increasing, 0.005},
          {Kind::brightness, Scale::enhance, increasing, 0.005},
          {Kind::sharpness, Scale::enhance, increasing, 0.025},
          {Kind::shear_x, Scale::shear, false, 0.2},
          {Kind::shear_y, Scale::shear, false, 0.2},
          {Kind::translate_x, Scale::translate, false, 0.1},
          {Kind::translate_y, Scale::translate, false, 0.1}};
}

std::vector<Entry> entries_of(const RandAugmentPolicy& policy) {
  switch (policy.set) {
    case RandAugmentPolicy::Set::all:
    case RandAugmentPolicy::Set::all_weighted:
      return all_entries(policy.increasing);
    case RandAugmentPolicy::Set::weights: {
      std::vector<Entry> entries = all_entries(true);
      constexpr std::array<double, 15> weights = {0.25, 0.05, 0.05, 3, 0.05, 0.05, 0.05, 0.25,
                                                  0.05, 0.05, 0.25, 2, 2,    1,    1};
      for (std::size_t i = 0; i < entries.size(); ++i) {
        entries[i].weight = weights[i];
      }
      return entries;
    }
    case RandAugmentPolicy::Set::three:
      return {{Kind::solarize, Scale::solarize, true},
              {Kind::color, Scale::desaturate},
              {Kind::gaussian_blur, Scale::blur}};
    case RandAugmentPolicy::Set::three_weighted:
      return {{Kind::solarize, Scale::solarize, true, 6},
              {Kind::color, Scale::desaturate, false, 6},
              {Kind::gaussian_blur, Scale::blur, false, 6},
              {Kind::rotate, Scale::rotate, false, 3},
              {Kind::shear_x, Scale::shear, false, 2},
              {Kind::shear_y, Scale::shear, false, 2},
              {Kind::posterize, Scale::posterize, true},
              {Kind::auto_contrast, Scale::none},
              {Kind::color, Scale::enhance, true},
              {Kind::sharpness, Scale::enhance, true},
              {Kind::contrast, Scale::enhance, true},
              {Kind::brightness, Scale::enhance, true},
              {Kind::equalize, Scale::none},
              {Kind::invert, Scale::none}};
  }
  return {};
}

bool is_weighted(RandAugmentPolicy::Set set) {
  return set != RandAugmentPolicy::Set::all && set != RandAugmentPolicy::Set::three;
}

double either_sign(PhiloxStream& random, double value) { return random.uniform() < 0.5 ? -value : value; }

double argument_of(PhiloxStream& random, const Entry& entry, double magnitude) {
  const double level = magnitude / kScale;
  const auto whole = [](double value) { return std::trunc(value); };
  switch (entry.scale) {
    case Scale::none:
      return 0;
    case Scale::rotate:
      return either_sign(random, level * 30.0);
    case Scale::posterize:
      return entry.increasing ? 4 - whole(level * 4) : whole(level * 4);
    case Scale::solarize: {
      const double threshold = std::min(256.0, whole(level * 256));
      return entry.increasing ? 256 - threshold : threshold;
    }
    case Scale::solarize_add:
      return std::min(128.0, whole(level * 110));
    case Scale::enhance:
      return entry.increasing ? std::max(0.1, 1.0 + either_sign(random, level * 0.9)) : level * 1.8 + 0.1;
    case Scale::shear:
      return either_sign(random, level * 0.3);
    case Scale::translate:
      return either_sign(random, level * 0.45);
    case Scale::desaturate:
      return std::clamp(1.0 - std::clamp(0.5 + 0.5 * level, 0.5, 1.0), 0.0, 1.0);
    case Scale::blur:
      return std::clamp(0.1 + 1.9 * level, 0.1, 2.0);
  }
  return 0;
}

// Draws the next operation of a weighted set and sets its weight to 0.
std::size_t take_weighted(PhiloxStream& random, std::vector<Entry>& entries) {
  double total = 0;
  for (const Entry& entry : entries) {
    total += entry.weight;
  }
  double left = random.uniform() * total;
  std::size_t chosen = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].weight > 0) {
      chosen = i;
      left -= entries[i].weight;
      if (left < 0) {
        break;
      }
    }
  }
  entries[chosen].weight = 0;
  return chosen;
}

[[noreturn]] void refuse(const std::string& text, const std::string& what, const std::string& hint = kSections) {
  throw usage_error(fmt::format("--aa {}: {}", text, what), hint);
}

template <typename Number>
Number number_in(const std::string& text, const std::string& section, std::size_t key_length, double least,
                 double most) {
  Number value{};
  const char *begin = section.data() + key_length, *end = section.data() + section.size();
  const auto [rest, problem] = std::from_chars(begin, end, value);
  const bool is_number = problem == std::errc() && rest == end;
  if (!is_number || !(static_cast<double>(value) >= least && static_cast<double>(value) <= most)) {
    refuse(text, fmt::format("section '{}' needs a {}number from {} to {} after {}", section,
                             std::is_integral_v<Number> ? "whole " : "", least, most, section.substr(0, key_length)));
  }
  return value;
}

RandAugmentPolicy::Set parse_set(const std::string& text, const std::string& section) {
  for (const auto& [name, set] : {std::pair("tweights", RandAugmentPolicy::Set::weights),
                                  {"t3a", RandAugmentPolicy::Set::three},
                                  {"t3aw", RandAugmentPolicy::Set::three_weighted},
                                  {"w0", RandAugmentPolicy::Set::all_weighted}}) {
    if (section == name) {
      return set;
    }
  }
  refuse(text, fmt::format("section '{}' is not a set of operations", section));
}

constexpr EnumNames<InterpolationChoice, 3> kInterpolations = {{{"bilinear", InterpolationChoice::bilinear},
                                                                {"bicubic", InterpolationChoice::bicubic},
                                                                {"random", InterpolationChoice::random}}};

}  // namespace

std::string to_string(InterpolationChoice choice) { return name_of(kInterpolations, choice); }

InterpolationChoice parse_interpolation_choice(const std::string& text) {
  return parse_name(kInterpolations, text, "--train-interpolation");
}

Interpolation draw_interpolation(PhiloxStream& random, InterpolationChoice choice) {
  if (choice == InterpolationChoice::random) {
    return random.uniform() < 0.5 ? Interpolation::bilinear : Interpolation::bicubic;
  }
  return choice == InterpolationChoice::bilinear ? Interpolation::bilinear : Interpolation::bicubic;
}

RandAugmentPolicy RandAugmentPolicy::parse(const std::string& text) {
  RandAugmentPolicy policy;
  if (text == "none") {
    policy.enabled = false;
    return policy;
  }
  policy.magnitude = kScale;
  policy.magnitude_deviation = 0;
  policy.increasing = false;
  std::set<std::string> seen;
  std::size_t begin = 0;
  for (bool is_first = true; begin <= text.size(); is_first = false) {
    const std::size_t end = std::min(text.find('-', begin), text.size());
    const std::string section = text.substr(begin, end - begin);
    begin = end + 1;
    if (is_first) {
      if (section != "rand") {
        refuse(text, "a policy begins with rand", "give none, or a policy such as rand-m9-mstd0.5-inc1");
      }
      continue;
    }
    const std::size_t letters = std::min(section.find_first_of("0123456789"), section.size());
    const bool names_set = section.starts_with('t') || section.starts_with('w');
    const std::string key = names_set ? "t" : section.substr(0, letters);
    if (!seen.insert(key).second) {
      refuse(text, fmt::format("section '{}' repeats an earlier one", section));
    }
    if (names_set) {
      policy.set = parse_set(text, section);
    } else if (key == "m") {
      policy.magnitude = number_in<int>(text, section, letters, 0, 1000);
    } else if (key == "mstd") {
      const auto deviation = number_in<double>(text, section, letters, 0, std::numeric_limits<double>::max());
      policy.magnitude_deviation = deviation > kMostDeviation ? std::numeric_limits<double>::infinity() : deviation;
    } else if (key == "mmax") {
      policy.magnitude_max = number_in<int>(text, section, letters, 1, 1000);
    } else if (key == "n") {
      policy.num_operations = number_in<int>(text, section, letters, 1, 100);
    } else if (key == "p") {
      policy.probability = number_in<double>(text, section, letters, 0, 1);
    } else if (key == "inc" && section == "inc1") {
      policy.increasing = true;
    } else if (key == "inc") {
      refuse(text, fmt::format("section '{}' is not inc1", section),
             "timm treats any number as 1, even 0: give inc1, or omit it for the variants that do not increase");
    } else {
      refuse(text, fmt::format("section '{}' is unknown", section));
    }
  }
  if (is_weighted(policy.set)) {
    const auto entries = entries_of(policy);
    const auto most =
        std::count_if(entries.begin(), entries.end(), [](const Entry& entry) { return entry.weight > 0; });
    if (policy.num_operations > most) {
      refuse(text, fmt::format("n{} is more than the {} operations of a weighted set", policy.num_operations, most));
    }
  }
  return policy;
}

void draw_rand_augment(PhiloxStream& random, const RandAugmentPolicy& policy, InterpolationChoice interpolation,
                       std::vector<ImageOperation>& operations) {
  if (!policy.enabled) {
    return;
  }
  std::vector<Entry> entries = entries_of(policy);
  for (int i = 0; i < policy.num_operations; ++i) {
    const Entry entry = entries[is_weighted(policy.set) ? take_weighted(random, entries)
                                                        : random.below(static_cast<std::uint32_t>(entries.size()))];
    if (random.uniform() >= policy.probability) {
      continue;
    }
    double magnitude = policy.magnitude;
    if (std::isinf(policy.magnitude_deviation)) {
      magnitude = random.uniform(0, magnitude);
    } else if (policy.magnitude_deviation > 0) {
      magnitude += policy.magnitude_deviation * random.normal();
    }
    magnitude = std::clamp(magnitude, 0.0, policy.magnitude_max);
    ImageOperation operation{entry.kind, argument_of(random, entry, magnitude)};
    if (is_geometric(operation.kind)) {
      operation.interpolation = draw_interpolation(random, interpolation);
    }
    operations.push_back(operation);
  }
}

}  // namespace maskedkd
