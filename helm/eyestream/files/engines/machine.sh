# What this machine is, against what the engine needs. Sourced by build.sh and select.sh.

stop() {
  echo "eyestream: $1" >&2
  exit 1
}

tensorrt_here() {
  for library in ${ENGINE_LIBRARIES:-/usr/lib/*/libnvinfer.so.*.*.* /opt/tensorrt/lib/libnvinfer.so.*.*.* /usr/local/lib/python3*/*-packages/tensorrt*_libs/libnvinfer.so.*.*.*}; do
    [ -e "$library" ] && echo "${library##*.so.}" && return
  done
  python3 -c 'import tensorrt; print(".".join(tensorrt.__version__.split(".")[:3]))' 2>/dev/null || true
}

# Ends with an error unless the GPU, its slice and TensorRT are those of $ENGINE_GPU, _COMPUTE, _MIG and _TENSORRT.
require_machine() {
  [ "$ENGINE_GPU" = cpu ] && return
  gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1) ||
    stop "nvidia-smi finds no GPU: the pod needs the resource of its kind in gpus, and the node NVIDIA's container runtime"
  compute=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1)
  # The node label writes spaces as dashes and adds what is sliced.
  wanted=${ENGINE_GPU%%-MIG-*}
  case $(echo "$gpu" | tr ' ' '-') in
    "$wanted" | "NVIDIA-$wanted") ;;
    *) stop "this GPU is \"$gpu\", the engine is for $ENGINE_GPU: correct gpus.*.product or the node's labels" ;;
  esac
  [ "$compute" = "$ENGINE_COMPUTE" ] ||
    stop "this GPU's compute capability is $compute, the engine is for $ENGINE_COMPUTE: correct gpus.*.computeCapability"
  if [ -n "$ENGINE_MIG" ]; then
    nvidia-smi -L | grep -q "MIG $ENGINE_MIG " ||
      stop "this pod has no MIG slice $ENGINE_MIG: correct gpus.*.resource and migProfile"
  fi
  tensorrt=$(tensorrt_here)
  [ "$tensorrt" = "$ENGINE_TENSORRT" ] ||
    stop "this image has TensorRT ${tensorrt:-that cannot be found}, engines.tensorrt says $ENGINE_TENSORRT: change one of them"
}
