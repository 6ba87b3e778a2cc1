#include "faults/power_cut.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>

namespace maskedkd::testing {
namespace fs = std::filesystem;
namespace {

constexpr int kNothing = -1;

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::uint64_t inode_of(const fs::path& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    throw std::runtime_error("no " + path.string());
  }
  return status.st_ino;
}

void put(std::string& content, std::uint64_t offset, const std::string& data) {
  content.resize(std::max<std::size_t>(content.size(), offset + data.size()));
  content.replace(offset, data.size(), data);
}

}  // namespace

std::vector<Operation> read_operations(const fs::path& log) {
  const std::string bytes = bytes_of(log);
  std::vector<Operation> operations;
  for (std::size_t at = 0; at < bytes.size();) {
    faults_logged_call record{};
    if (bytes.copy(reinterpret_cast<char*>(&record), sizeof record, at) < sizeof record) {
      throw std::runtime_error(log.string() + " is cut");
    }
    at += sizeof record;
    const auto next = [&](std::uint64_t length) { return bytes.substr(std::exchange(at, at + length), length); };
    Operation operation{
        record.number, static_cast<int>(record.call), record.flags, record.inode, record.offset, {}, {}, {}};
    operation.path = next(record.path_bytes);
    operation.other = next(record.other_bytes);
    operation.data = next(record.data_bytes);
    operations.push_back(std::move(operation));
  }
  return operations;
}

PowerCut::PowerCut(const fs::path& root) : root_(root) { add(root); }

int PowerCut::add(const fs::path& path) {
  const int index = static_cast<int>(nodes_.size());
  nodes_.emplace_back();
  by_inode_[inode_of(path)] = index;
  if (fs::is_symlink(path)) {
    nodes_.back().kind = Node::Kind::link;
    nodes_.back().content = fs::read_symlink(path);
  } else if (fs::is_directory(path)) {
    nodes_.back().kind = Node::Kind::folder;
    for (const auto& entry : fs::directory_iterator(path)) {
      const int child = add(entry.path());
      nodes_[static_cast<std::size_t>(index)].names[entry.path().filename()] = child;
    }
    nodes_[static_cast<std::size_t>(index)].synced_names = nodes_[static_cast<std::size_t>(index)].names;
  } else {
    nodes_.back().content = nodes_.back().synced = bytes_of(path);
  }
  return index;
}

class Disk {
 public:
  explicit Disk(const PowerCut& before) : root_(before.root_), nodes_(before.nodes_), by_inode_(before.by_inode_) {}

  void apply(const Operation& operation) {
    switch (operation.call) {
      case FAULTS_OPEN:
        if ((operation.flags & FAULTS_CREATED) != 0) {
          make(operation, Node::Kind::file);
        } else if ((operation.flags & FAULTS_EMPTIED) != 0) {
          change(operation.inode, {0, "", true});
        }
        break;
      case FAULTS_WRITE:
        change(operation.inode, {operation.offset, operation.data, false});
        break;
      case FAULTS_TRUNCATE:
        change(operation.inode, {operation.offset, "", true});
        break;
      case FAULTS_SYNC:
        sync(number_of(operation.inode));
        break;
      case FAULTS_MKDIR:
        make(operation, Node::Kind::folder);
        break;
      case FAULTS_SYMLINK:
        node(make(operation, Node::Kind::link)).content = operation.other;
        break;
      case FAULTS_RENAME: {
        const Place from = place_of(operation.path), to = place_of(operation.other);
        const int moved = node(from.folder).names.at(from.name);
        rename({{from, kNothing}, {to, moved}});
        break;
      }
      case FAULTS_LINK: {
        const Place from = place_of(operation.path);
        rename({{place_of(operation.other), node(from.folder).names.at(from.name)}});
        break;
      }
      case FAULTS_UNLINK:
      case FAULTS_RMDIR:
        rename({{place_of(operation.path), kNothing}});
        break;
      case FAULTS_ALLOCATE:
        throw std::runtime_error("the power cut knows no fallocate");
      default:
        break;
    }
  }

  void fail(Survival survival, std::uint64_t seed) {
    random_.seed(seed);
    for (const Renaming& renaming : pending_) {
      if (survival == Survival::random && coin()) {
        make_durable(renaming);
      }
    }
    for (Node& file : nodes_) {
      if (file.kind != Node::Kind::file || file.changes.empty() || survival == Survival::synced_only) {
        continue;
      }
      if (survival == Survival::prefixes || coin()) {
        file.synced = file.content.substr(0, random_() % (file.content.size() + 1));
        continue;
      }
      for (const Node::Change& change : file.changes) {
        if (coin()) {
          do_change(file.synced, change);
        }
      }
    }
  }

  void write(const fs::path& target, int from = 0) {
    const Node& what = node(from);
    if (what.kind == Node::Kind::link) {
      fs::create_symlink(what.content, target);
    } else if (what.kind == Node::Kind::file) {
      std::ofstream(target, std::ios::binary) << what.synced;
    } else {
      fs::create_directory(target);
      for (const auto& [name, child] : what.synced_names) {
        write(target / name, child);
      }
    }
  }

 private:
  using Node = PowerCut::Node;
  struct Place {
    int folder = 0;
    std::string name;
    bool operator<(const Place& other) const { return std::tie(folder, name) < std::tie(other.folder, other.name); }
  };
  // The change of one or two names by a call, which happens completely or not at all.
  using Renaming = std::vector<std::pair<Place, int>>;

  Node& node(int number) { return nodes_.at(static_cast<std::size_t>(number)); }
  int number_of(std::uint64_t inode) const { return by_inode_.at(inode); }
  bool coin() { return random_() % 2 == 0; }

  Place place_of(const fs::path& path) {
    int folder = 0;
    const fs::path below = path.lexically_relative(root_);
    for (const auto& part : below.parent_path()) {
      folder = node(folder).names.at(part);
    }
    return {folder, below.filename()};
  }

  int make(const Operation& operation, Node::Kind kind) {
    const int number = static_cast<int>(nodes_.size());
    nodes_.emplace_back();
    nodes_.back().kind = kind;
    by_inode_[operation.inode] = number;
    rename({{place_of(operation.path), number}});
    return number;
  }

  void rename(const Renaming& renaming) {
    for (const auto& [place, number] : renaming) {
      set(node(place.folder).names, place.name, number);
    }
    pending_.push_back(renaming);
  }

  void make_durable(const Renaming& renaming) {
    for (const auto& [place, number] : renaming) {
      set(node(place.folder).synced_names, place.name, number);
    }
  }

  static void set(std::map<std::string, int>& names, const std::string& name, int number) {
    if (number == kNothing) {
      names.erase(name);
    } else {
      names[name] = number;
    }
  }

  static void do_change(std::string& content, const Node::Change& change) {
    if (change.cuts) {
      content.resize(change.offset);
    } else {
      put(content, change.offset, change.data);
    }
  }

  void change(std::uint64_t inode, const Node::Change& change) {
    Node& file = node(number_of(inode));
    do_change(file.content, change);
    file.changes.push_back(change);
  }

  // For a folder, syncs its changes and earlier changes of the same names, as otherwise their order would be lost.
  void sync(int number) {
    Node& synced = node(number);
    if (synced.kind == Node::Kind::file) {
      synced.synced = synced.content;
      synced.changes.clear();
      return;
    }
    std::set<Place> touched;
    std::vector<Renaming> durable, rest;
    for (auto renaming = pending_.rbegin(); renaming != pending_.rend(); ++renaming) {
      const bool belongs = std::any_of(renaming->begin(), renaming->end(), [&](const auto& change) {
        return change.first.folder == number || touched.count(change.first) > 0;
      });
      (belongs ? durable : rest).push_back(*renaming);
      for (const auto& [place, ignored] : *renaming) {
        if (belongs) {
          touched.insert(place);
        }
      }
    }
    std::for_each(durable.rbegin(), durable.rend(), [this](const Renaming& renaming) { make_durable(renaming); });
    pending_.assign(rest.rbegin(), rest.rend());
  }

  fs::path root_;
  std::vector<Node> nodes_;
  std::map<std::uint64_t, int> by_inode_;
  std::vector<Renaming> pending_;
  std::mt19937_64 random_;
};

void PowerCut::rebuild(const std::vector<Operation>& operations, std::size_t num_operations, Survival survival,
                       std::uint64_t seed, const fs::path& target) const {
  Disk disk(*this);
  for (std::size_t i = 0; i < num_operations; ++i) {
    disk.apply(operations.at(i));
  }
  disk.fail(survival, seed);
  disk.write(target);
}

}  // namespace maskedkd::testing
