"""The wheels that LibTorch is taken from, each fixed by version and digest, and what is taken out of each."""

from typing import List, NamedTuple, Tuple

# `tch` 0.24 in Cargo.toml is generated from this version of LibTorch; raise both together.
TORCH_VERSION = "2.11.0"


class Wheel(NamedTuple):
    """A file that pip fetches, fixed by its digest."""

    file: str
    sha256: str
    size: int

    @property
    def title(self) -> str:
        name, version = self.file.split("-")[:2]
        return f"{name.replace('_', '-')} {version}"

    @property
    def requirement(self) -> str:
        return self.title.replace(" ", "==")

    @property
    def platforms(self) -> List[str]:
        """The platform tags, which pip wants one by one and matches to the letter."""
        return self.file[: -len(".whl")].split("-")[-1].split(".")


class Part(NamedTuple):
    """What is taken out of one wheel; it is complete or absent."""

    name: str
    wheel: Wheel
    unpacked: int
    files: Tuple[str, ...]
    folders: Tuple[str, ...] = ()
    gpu: bool = True


def nvidia(file: str, sha256: str, size: int, unpacked: int, *libraries: str, gpu: bool = True) -> Part:
    """A part whose libraries are named by patterns relative to the folder `nvidia`."""
    wheel = Wheel(file, sha256, size)
    return Part(wheel.title, wheel, unpacked, tuple(f"nvidia/{name}" for name in libraries), gpu=gpu)


TORCH = Wheel(
    "torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "0f68f4ac6d95d12e896c3b7a912b5871619542ec54d3649cf48cc1edd4dd2756",
    530_712_279,
)

# The first three parts make the CPU work: `libtorch_cpu.so` of this wheel links to the CUDA runtime
# and to CUPTI even where no GPU is. The versions are those that the metadata of `torch` 2.11.0 and of
# `cuda-toolkit` 13.0.2 ask for. Left out of the wheels: what no library of LibTorch loads
# (`libcusolverMg`, `libcufftw`, `libnvblas`, alternative compilers, NVTX, Triton, the Python code).
PARTS = (
    Part(
        TORCH.title,
        TORCH,
        490_000_000,
        ("torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1"),
        folders=("torch/include",),
        gpu=False,
    ),
    nvidia(
        "nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
        2_243_632, 704_288, "cu13/lib/libcudart.so.13", gpu=False,
    ),
    nvidia(
        "nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
        "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
        10_715_597, 3_800_000, "cu13/lib/libcupti.so.13", gpu=False,
    ),
    Part(
        f"{TORCH.title} (CUDA)",
        TORCH,
        514_000_000,
        (
            "torch/lib/libtorch_cuda.so",
            "torch/lib/libtorch_cuda_linalg.so",
            "torch/lib/libtorch_nvshmem.so",
            "torch/lib/libc10_cuda.so",
            "torch/lib/libcaffe2_nvrtc.so",
        ),
    ),
    nvidia(
        "nvidia_cublas-13.1.0.3-py3-none-manylinux_2_27_x86_64.whl",
        "ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171",
        423_133_236, 595_000_000, "cu13/lib/libcublas.so.*", "cu13/lib/libcublasLt.so.*",
    ),
    nvidia(
        "nvidia_cuda_nvrtc-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
        90_215_200, 114_000_000, "cu13/lib/libnvrtc.so.*", "cu13/lib/libnvrtc-builtins.so.*",
    ),
    nvidia(
        "nvidia_cudnn_cu13-9.19.0.56-py3-none-manylinux_2_27_x86_64.whl",
        "d20e1734305e9d68889a96e3f35094d733ff1f83932ebe462753973e53a572bf",
        366_066_321, 493_410_224, "cudnn/lib/*.so.*",
    ),
    nvidia(
        "nvidia_cufft-12.0.0.61-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "6c44f692dce8fd5ffd3e3df134b6cdb9c2f72d99cf40b62c32dde45eea9ddad3",
        214_085_489, 287_000_000, "cu13/lib/libcufft.so.*",
    ),
    nvidia(
        "nvidia_cufile-1.15.1.6-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "08a3ecefae5a01c7f5117351c64f17c7c62efa5fffdbe24fc7d298da19cd0b44",
        1_223_672, 3_214_120, "cu13/lib/libcufile*.so.*",
    ),
    nvidia(
        "nvidia_curand-10.4.0.35-py3-none-manylinux_2_27_x86_64.whl",
        "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
        59_544_258, 132_698_328, "cu13/lib/libcurand.so.*",
    ),
    nvidia(
        "nvidia_cusolver-12.0.4.66-py3-none-manylinux_2_27_x86_64.whl",
        "0a759da5dea5c0ea10fd307de75cdeb59e7ea4fcb8add0924859b944babf1112",
        200_941_980, 141_000_000, "cu13/lib/libcusolver.so.*",
    ),
    nvidia(
        "nvidia_cusparse-12.6.3.3-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "2b3c89c88d01ee0e477cb7f82ef60a11a4bcd57b6b87c33f789350b59759360b",
        145_942_937, 162_565_256, "cu13/lib/libcusparse.so.*",
    ),
    nvidia(
        "nvidia_cusparselt_cu13-0.8.0-py3-none-manylinux2014_x86_64.whl",
        "25e30a8a7323935d4ad0340b95a0b69926eee755767e8e0b1cf8dd85b197d3fd",
        169_884_119, 233_613_145, "cusparselt/lib/*.so.*",
    ),
    nvidia(
        "nvidia_nccl_cu13-2.28.9-py3-none-manylinux_2_18_x86_64.whl",
        "e4553a30f34195f3fa1da02a6da3d6337d28f2003943aa0a3d247bbc25fefc42",
        196_493_177, 217_995_896, "nccl/lib/*.so.*",
    ),
    nvidia(
        "nvidia_nvjitlink-13.0.88-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        "13a74f429e23b921c1109976abefacc69835f2f433ebd323d3946e11d804e47b",
        40_713_933, 98_806_736, "cu13/lib/libnvJitLink.so.*",
    ),
    nvidia(
        "nvidia_nvshmem_cu13-3.4.5-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
        "290f0a2ee94c9f3687a02502f3b9299a9f9fe826e6d0287ee18482e78d495b80",
        60_412_546, 45_753_096, "nvshmem/lib/*.so.*",
    ),
)
