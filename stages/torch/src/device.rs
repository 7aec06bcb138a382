//! What LibTorch computes with: opens the GPU's library when one may be used, keeps every result independent of
//! the number of threads, and says what was found. Unaware of jobs beyond their device.

use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::sync::{Once, OnceLock};

use anyhow::{Context as _, Result, bail};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW, Symbol};
use pacer_stages::job::Device;
use pacer_stages::worker::{CudaDevice, Probe};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Files that a driver makes; one of them is there wherever a CUDA device can be used (the last one in WSL).
const DEVICE_FILES: [&str; 4] = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/nvidia-uvm", "/dev/dxg"];

/// What the driver's own interface calls the two halves of an architecture's number.
const ARCHITECTURE: [c_int; 2] = [75, 76];

unsafe extern "C" {
    /// Declared in LibTorch's `aoti_torch/c/shim.h`: a byte each for major, minor and patch, then the ABI tag.
    fn aoti_torch_abi_version() -> u64;
}

/// Fixes how LibTorch computes; called before any other call of it.
///
/// A sum over two threads is added up in another order than over one, so the number of threads would change the
/// bits of every result: LibTorch gets one, and the threads of a job are those of a [`pool`] and of trials side by side.
pub fn settle() {
    static SETTLED: Once = Once::new();
    SETTLED.call_once(|| {
        tch::set_num_interop_threads(1);
        tch::set_num_threads(1);
        keep_memory();
    });
}

/// So many threads that compute side by side, each by itself. How many threads LibTorch and its library of products
/// divide a sum among is kept for each thread apart, and a new one would take as many as the machine has.
pub fn pool(threads: usize) -> Result<ThreadPool> {
    let pool = ThreadPoolBuilder::new().num_threads(threads.max(1)).start_handler(|_| tch::set_num_threads(1)).build();
    pool.context("the threads that compute cannot be started")
}

/// Lets the C library keep the memory of arrays that were freed for the next ones. By default it gives back large ones
/// and asks for them anew at each step, and clearing their pages takes a fifth of the time of a small step.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    const TRIM_THRESHOLD: c_int = -1;
    const TOP_PAD: c_int = -2;
    const MMAP_THRESHOLD: c_int = -3;
    unsafe extern "C" {
        /// Of the C library: sets one of its numbers; 0 where it takes no such value, and then all stays as it was.
        fn mallopt(parameter: c_int, value: c_int) -> c_int;
    }
    // The largest thresholds that it takes.
    for (parameter, value) in [(MMAP_THRESHOLD, 32 << 20), (TRIM_THRESHOLD, c_int::MAX), (TOP_PAD, 32 << 20)] {
        // SAFETY: a function of two numbers that may be called at any time.
        unsafe { mallopt(parameter, value) };
    }
}

/// Other C libraries have no such numbers.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}

/// The device of a job. A GPU that cannot be used is an error and no reason to turn to the CPU: the result is
/// stored under a key that names the class of device, and would lie there under the wrong one.
pub fn open(device: Device) -> Result<tch::Device> {
    let Device::Cuda(index) = device else {
        return Ok(tch::Device::Cpu);
    };
    if let Err(reason) = load_cuda() {
        bail!("GPU `{index}` cannot be used: {reason}");
    }
    let count = tch::Cuda::device_count();
    if index as i64 >= count {
        bail!("GPU `{index}` is not there: LibTorch sees {count}, counted from 0");
    }
    Ok(tch::Device::Cuda(index))
}

/// What this process would compute with.
pub fn probe() -> Probe {
    let loaded = load_cuda();
    let described = loaded.and_then(|()| describe_devices().map_err(|error| format!("{error:#}")));
    let (cuda, without_cuda) = match described {
        Ok(devices) => (devices, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    Probe { libtorch: version(), cuda, without_cuda, cpu: capability().into() }
}

/// The version of the LibTorch that is loaded, which need not be the one that was built against.
fn version() -> String {
    // SAFETY: a function without arguments that returns a constant, with the signature of its C header.
    let [major, minor, patch, ..] = unsafe { aoti_torch_abi_version() }.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

/// Opens LibTorch's GPU half for the rest of the process, at the first call; later calls repeat the answer.
fn load_cuda() -> std::result::Result<(), String> {
    static LOADED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(load_cuda_once).clone()
}

fn load_cuda_once() -> std::result::Result<(), String> {
    if !DEVICE_FILES.iter().any(|file| Path::new(file).exists()) {
        return Err("this machine has no NVIDIA device".into());
    }
    // SAFETY: the worker calls this from its main thread before it starts another, so nobody reads the
    // environment meanwhile. The first makes cuBLAS and cuDNN repeat their sums in the same order, the second
    // keeps matrix products in full single precision.
    unsafe {
        std::env::set_var("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
        std::env::set_var("NVIDIA_TF32_OVERRIDE", "0");
    }
    // SAFETY: the library registers itself with the LibTorch that is loaded already, which is of its version or
    // fails to resolve its symbols. It is never closed: code of it stays registered.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) };
    std::mem::forget(library.map_err(|error| {
        format!("`libtorch_cuda.so` does not load ({error}): install LibTorch's GPU half with `make setup`")
    })?);
    if !tch::Cuda::is_available() {
        return Err("LibTorch finds no usable device: the driver may be older than its CUDA".into());
    }
    Ok(())
}

/// Asks the driver for what LibTorch's C interface does not tell.
fn describe_devices() -> Result<Vec<CudaDevice>> {
    // SAFETY: the driver's library is meant to be opened so; LibTorch holds it already.
    let driver = unsafe { Library::open(Some("libcuda.so.1"), RTLD_NOW) }.context("`libcuda.so.1` does not load")?;
    (0..tch::Cuda::device_count()).map(|index| describe_device(&driver, index as c_int)).collect()
}

fn describe_device(driver: &Library, index: c_int) -> Result<CudaDevice> {
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    type Memory = unsafe extern "C" fn(*mut usize, c_int) -> c_int;
    type Attribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
    let done = |status: c_int, call: &str| match status {
        0 => Ok(()),
        status => bail!("`{call}` of the driver failed with {status}"),
    };
    let (mut handle, mut name, mut memory, mut digits) = (0, [0 as c_char; 256], 0usize, [0; 2]);
    // SAFETY: the signatures are those of CUDA's driver interface, which keeps them for ever; every pointer is
    // to a local of the size that is told; the name is cut short and ended with a zero by the driver.
    let name = unsafe {
        let get: Symbol<Get> = driver.get(b"cuDeviceGet")?;
        done(get(&mut handle, index), "cuDeviceGet")?;
        let get: Symbol<Name> = driver.get(b"cuDeviceGetName")?;
        done(get(name.as_mut_ptr(), 255, handle), "cuDeviceGetName")?;
        let get: Symbol<Memory> = driver.get(b"cuDeviceTotalMem_v2")?;
        done(get(&mut memory, handle), "cuDeviceTotalMem_v2")?;
        let get: Symbol<Attribute> = driver.get(b"cuDeviceGetAttribute")?;
        for (digit, attribute) in digits.iter_mut().zip(ARCHITECTURE) {
            done(get(digit, attribute, handle), "cuDeviceGetAttribute")?;
        }
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    };
    let architecture = format!("sm_{}{}", digits[0], digits[1]);
    Ok(CudaDevice { index: index as usize, name, architecture, memory: memory as u64 })
}

/// The instruction set that LibTorch's kernels choose by, as `ATen/native/DispatchStub.cpp` does.
#[cfg(target_arch = "x86_64")]
pub fn capability() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    match std::env::var("ATEN_CPU_CAPABILITY").as_deref() {
        Ok("avx512") => return "AVX512",
        Ok("avx2") => return "AVX2",
        Ok("default") => return "DEFAULT",
        Ok(_) | Err(_) => {}
    }
    let fma = has!("fma");
    let wide = has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq");
    match (fma && wide, fma && has!("avx2")) {
        (true, _) => "AVX512",
        (false, true) => "AVX2",
        (false, false) => "DEFAULT",
    }
}

/// The instruction set that LibTorch's kernels choose by.
#[cfg(not(target_arch = "x86_64"))]
pub fn capability() -> &'static str {
    "DEFAULT"
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn a_thread_of_a_pool_adds_up_long_sums_as_the_main_one_does() {
        settle();
        // Threads of tests are new ones too.
        tch::set_num_threads(1);
        let numbers = |rows: i64, columns: i64| {
            Tensor::arange(rows * columns, (Kind::Float, tch::Device::Cpu)).sin().view([rows, columns])
        };
        // As the gradient of a weight, which is a sum over all steps.
        let gradient = |steps: &Tensor, by: &Tensor| {
            let sums = by.transpose(0, 1).matmul(steps);
            Vec::<f32>::try_from(sums.view([-1])).unwrap()
        };
        for rows in [480, 968, 4800] {
            // Made here, for other work of LibTorch would settle a new thread by the way.
            let (steps, by) = (numbers(rows, 8), numbers(rows, 1));
            let expected = gradient(&steps, &by);
            let given = Mutex::new((steps, by));
            let there = || {
                let (steps, by) = &*given.lock().unwrap();
                gradient(steps, by)
            };
            assert_eq!(pool(2).unwrap().install(there), expected, "{rows}");
        }
    }

    #[test]
    fn the_loaded_libtorch_is_the_one_that_tch_was_written_for() {
        assert_eq!(version(), "2.11.0");
    }

    #[test]
    fn a_job_for_a_gpu_that_is_not_there_is_refused_and_never_computed_elsewhere() {
        let error = open(Device::Cuda(97)).unwrap_err().to_string();
        assert!(error.starts_with("GPU `97`"), "{error}");
        assert_eq!(open(Device::Cpu).unwrap(), tch::Device::Cpu);
    }
}
