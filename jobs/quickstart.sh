#!/usr/bin/env bash
# The whole workflow on real images, from a machine with nothing installed to a comparison of students: packs
# Fashion-MNIST with two ranks, and trains the same student without a teacher, with the whole teacher and with the masked
# one. The training with the masked teacher is stopped once, as a cluster does, and resumed. The teacher comes with the
# repository (jobs/recipes/fashion_mnist_teacher.conf). A second call reuses existing results.
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
teacher=jobs/recipes/fashion_mnist_teacher.safetensors
began=$SECONDS

step() { printf '\n[%2d:%02d] %s\n' $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60)) "$*"; }

pack() {
  mpiexec --quiet -n 2 "$build/bin/maskedkd_pack" --source idx --images "$images/$1-images-idx3-ubyte.gz" \
    --labels "$images/$1-labels-idx1-ubyte.gz" --class-names "$classes" --output-dir "$folder/packed/$2"
}

evaluate() {  # WEIGHTS RESULT FLAG...
  mpiexec --quiet -n 2 "$build/bin/maskedkd_evaluate" --data-path "$folder/packed/val" --weights "$1" --eval-crop 1 \
    --output "$2" "${@:3}"
}

# Two ranks on this machine's CPUs, also inside a job of a cluster.
arms=none,whole,keep50
masked=$folder/students/keep50-0
train_students() {
  exec env -u SLURM_JOB_ID MASKEDKD_SITE="$folder/site.sh" jobs/compare.sh --arms $arms --seeds 0 \
    --folder "$folder/students" fashion_mnist --data-path "$folder/packed" --device cpu
}

step "installing what is missing"
env/install.sh build data
step "building"
mkdir -p "$folder"
env/build.sh "$build" -DMASKEDKD_TESTS=OFF
source env/paths.sh
set_up=$((SECONDS - began))
cat >"$folder/site.sh" <<EOT
source env/site.sh
site_build=$(realpath "$build") site_nodes=1 site_ranks_per_node=2 site_gpus_per_node=0
EOT

step "packing 60,000 + 10,000 images with 2 ranks"
pack train train
pack t10k val

step "evaluating the teacher on the 10,000 test images"
evaluate $teacher "$folder/teacher.json"

step "training three students on 2 ranks: with the whole teacher, with half of the teacher's patches, without a teacher"
if [ ! -d "$masked/checkpoints" ]; then
  (train_students) &
  training=$!
  trap 'kill $training 2>/dev/null || true' EXIT
  # A checkpoint is written after the first epoch; five seconds later the second epoch is running.
  while kill -0 $training 2>/dev/null && ! compgen -G "$masked/checkpoints/step-*" >/dev/null; do sleep 0.2; done
  sleep 5
  step "stopping the one with the masked teacher with SIGUSR1, as a cluster does before it reclaims a machine"
  kill -USR1 $training 2>/dev/null || true
  code=0
  wait $training || code=$?
  trap - EXIT
  [ $code -eq 85 ] || { echo "the stopped training ended with $code instead of 85" >&2; exit 1; }
  step "exit code 85: stopped with a checkpoint. Restarting with the same command"
fi
(train_students)

step "drawing what the teacher saw"
evaluate "$masked" "$folder/student.json" --masks "$folder/masks.png"

step "done: set-up and build took ${set_up} s, the rest $((SECONDS - began - set_up)) s"
echo
python3 jobs/compare_table.py "$folder/students" $arms 0 "$folder/teacher.json"
cat <<EOT

what the teacher saw   $folder/masks.png
packed images          $folder/packed/{train,val}
the students' runs     $folder/students/{none,whole,keep50}-0     (log.txt, checkpoints; best: the best one)
programs               $build/bin/maskedkd_{pack,preview,train,evaluate,weights}
EOT
