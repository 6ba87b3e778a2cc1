#!/usr/bin/env bash
# The whole workflow on real images, from a machine with nothing installed to an evaluated student: packs Fashion-MNIST
# with two ranks, trains a teacher, and trains a student while the teacher sees half of the patches. The student's
# training is stopped halfway, as a cluster does, and resumed. A second call reuses existing results.
#
#   jobs/quickstart.sh [FOLDER]     default: runs/quickstart
#
# MASKEDKD_BUILD names the build folder (default: build).
set -euo pipefail
export LC_ALL=C  # decimal points in numbers
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=${1:-runs/quickstart}
build=${MASKEDKD_BUILD:-build}
images=/usr/share/datasets/fashion-mnist
classes=T-shirt,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Boot
began=$SECONDS

step() { printf '\n[%2d:%02d] %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*"; }
figure() { sed -n "s/.*\"$2\": *\([0-9.e+-]*\).*/\1/p" "$1" | tail -n 1; }  # a number of a JSON file or log

pack() {
  mpiexec --quiet -n 2 "$build/bin/maskedkd_pack" --source idx --images "$images/$1-images-idx3-ubyte.gz" \
    --labels "$images/$1-labels-idx1-ubyte.gz" --class-names "$classes" --output-dir "$folder/packed/$2"
}

# Options of both trainings: 28 x 28 pixels in 16 patches, a batch of 128 on two ranks.
train() {
  local name=$1
  shift
  exec mpiexec --quiet -n 2 "$build/bin/maskedkd_train" --data-path "$folder/packed/train" \
    --eval-data-path "$folder/packed/test" --output-dir "$folder/$name" --model vit --input-size 28 --patch-size 7 \
    --width 64 --heads 4 --batch-size 128 --micro-batch 64 --lr-per-step --warmup-epochs 0.5 --precision fp32 \
    --repeats 1 --crop-min-area 0.9 --aa none --color-jitter 0 --eval-crop 1 --mixup 0 --cutmix 0 --smoothing 0 \
    --drop-path 0 --workers 1 "$@"
}
# Random erasing teaches the teacher to recognise partly visible images.
train_teacher() { train teacher --depth 6 --epochs 10 --lr 8e-3 --erasing 0.5 --distillation-type none; }
train_student() { train student --depth 4 --epochs 10 --lr 4e-3 --erasing 0 --teacher-path "$folder/teacher"; }

evaluate() {
  mpiexec --quiet -n 2 "$build/bin/maskedkd_evaluate" --data-path "$folder/packed/test" --weights "$folder/$1" \
    --eval-crop 1 --output "$folder/$1/evaluation.json" "${@:2}"
}

step "installing what is missing"
env/install.sh build data
step "building"
mkdir -p "$folder"
env/build.sh "$build" -DMASKEDKD_TESTS=OFF
source env/paths.sh
set_up=$((SECONDS - began))

step "packing 60,000 + 10,000 images with 2 ranks"
pack train train
pack t10k test

step "training the teacher on 2 ranks"
(train_teacher)

step "training the student on 2 ranks: the teacher sees half of the patches"
if [ ! -d "$folder/student/checkpoints" ]; then
  (train_student) &
  training=$!
  trap 'kill $training 2>/dev/null || true' EXIT
  # The first checkpoint is written after the first epoch; five seconds later the second epoch is running.
  while kill -0 $training 2>/dev/null && ! compgen -G "$folder/student/checkpoints/step-*" >/dev/null; do sleep 0.2; done
  sleep 5
  step "stopping it with SIGUSR1, as a cluster does before it reclaims a machine"
  kill -USR1 $training 2>/dev/null || true
  code=0
  wait $training || code=$?
  trap - EXIT
  [ $code -eq 85 ] || { echo "the stopped training ended with $code instead of 85" >&2; exit 1; }
  step "exit code 85: stopped with a checkpoint. Restarting it with the same command"
fi
(train_student)

step "evaluating on the 10,000 test images"
evaluate teacher
evaluate student --masks "$folder/masks.png"

step "done: set-up and build took ${set_up} s, the rest $((SECONDS - began - set_up)) s"
printf '\n%-10s %10s %12s %12s %22s\n' '' 'acc@1' 'parameters' 'images/s' 'patches teacher saw'
for name in teacher student; do
  log=$folder/$name/log.txt
  kept=$(figure "$log" kept_patches)
  printf '%-10s %8.2f %% %12d %12.0f %22s\n' $name "$(figure "$folder/$name/evaluation.json" test_acc1)" \
    "$(figure "$log" n_parameters)" "$(figure "$log" images_per_second)" "${kept:+$kept of 16}"
done
cat <<EOT

what the teacher saw   $folder/masks.png
packed images          $folder/packed/{train,test}
checkpoints            $folder/{teacher,student}/checkpoints     (best: the best one)
training logs          $folder/{teacher,student}/log.txt
programs               $build/bin/maskedkd_{pack,preview,train,evaluate,weights}
EOT
