//! The calls into ggml, the one place with unsafe code: its libraries are loaded at run time, so that nothing has to be linked.
//!
//! Signatures are those of ggml 0.25 (`ggml.h`, `ggml-cpu.h`, `ggml-backend.h`, `ggml-alloc.h`). Opaque pointers never leave this file.

use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::ptr::null_mut;
use std::rc::Rc;

use anyhow::{Context, ensure};
use libloading::Library;

use crate::variant::Product;

/// A pointer to something of ggml's.
type Opaque = *mut c_void;

/// `struct ggml_init_params`.
#[repr(C)]
struct InitParams {
    mem_size: usize,
    mem_buffer: Opaque,
    no_alloc: bool,
}

/// `struct ggml_type_traits`.
#[repr(C)]
struct TypeTraits {
    type_name: *const c_char,
    blck_size: i64,
    blck_size_interleave: i64,
    type_size: usize,
    is_quantized: bool,
    to_float: Option<unsafe extern "C" fn(*const c_void, *mut f32, i64)>,
    from_float_ref: Option<unsafe extern "C" fn(*const f32, *mut c_void, i64)>,
}

/// `struct ggml_threadpool_params`.
#[repr(C)]
struct ThreadpoolParams {
    cpumask: [bool; 512],
    n_threads: i32,
    prio: i32,
    poll: u32,
    strict_cpu: bool,
    paused: bool,
}

/// `ggml_log_callback`.
type LogCallback = unsafe extern "C" fn(i32, *const c_char, Opaque);

/// `GGML_LOG_LEVEL_WARN`.
const WARN: i32 = 3;
/// `GGML_LOG_LEVEL_ERROR`.
const ERROR: i32 = 4;

/// Shows what is worth a warning; every repacked tensor is not.
///
/// # Safety
///
/// The text must be a string that ends with zero, as ggml's is.
unsafe extern "C" fn log(level: i32, message: *const c_char, _: Opaque) {
    if level == WARN || level == ERROR {
        // SAFETY: the caller vouches for it.
        eprint!("{}", unsafe { text(message) });
    }
}

macro_rules! api {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions of ggml that are used here.
        struct Api {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Api {
            /// # Safety
            ///
            /// The library must be ggml 0.25, whose functions have these signatures.
            unsafe fn load(library: &Library) -> anyhow::Result<Api> {
                Ok(Api {
                    $($name: {
                        // SAFETY: the caller vouches for the signature.
                        *unsafe { library.get(stringify!($name)) }
                            .with_context(|| format!("ggml has no function {}", stringify!($name)))?
                    },)*
                })
            }
        }
    };
}

api! {
    ggml_version: fn() -> *const c_char;
    ggml_commit: fn() -> *const c_char;
    ggml_log_set: fn(Option<LogCallback>, Opaque);
    ggml_type_name: fn(i32) -> *const c_char;
    ggml_get_type_traits: fn(i32) -> *const TypeTraits;
    ggml_row_size: fn(i32, i64) -> usize;
    ggml_quantize_chunk: fn(i32, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
    ggml_tensor_overhead: fn() -> usize;
    ggml_graph_overhead_custom: fn(usize, bool) -> usize;
    ggml_init: fn(InitParams) -> Opaque;
    ggml_free: fn(Opaque);
    ggml_new_tensor_2d: fn(Opaque, i32, i64, i64) -> Opaque;
    ggml_mul_mat: fn(Opaque, Opaque, Opaque) -> Opaque;
    ggml_new_graph_custom: fn(Opaque, usize, bool) -> Opaque;
    ggml_build_forward_expand: fn(Opaque, Opaque);
    ggml_cpu_has_avx2: fn() -> i32;
    ggml_cpu_has_avx_vnni: fn() -> i32;
    ggml_cpu_has_avx512: fn() -> i32;
    ggml_cpu_has_avx512_vbmi: fn() -> i32;
    ggml_cpu_has_avx512_vnni: fn() -> i32;
    ggml_cpu_has_amx_int8: fn() -> i32;
    ggml_threadpool_params_init: fn(*mut ThreadpoolParams, i32);
    ggml_threadpool_new: fn(*mut ThreadpoolParams) -> Opaque;
    ggml_threadpool_free: fn(Opaque);
    ggml_threadpool_pause: fn(Opaque);
    ggml_backend_cpu_init: fn() -> Opaque;
    ggml_backend_cpu_set_n_threads: fn(Opaque, i32);
    ggml_backend_cpu_set_threadpool: fn(Opaque, Opaque);
    ggml_backend_free: fn(Opaque);
    ggml_backend_get_device: fn(Opaque) -> Opaque;
    ggml_backend_dev_backend_reg: fn(Opaque) -> Opaque;
    ggml_backend_dev_supports_op: fn(Opaque, Opaque) -> bool;
    ggml_backend_reg_get_proc_address: fn(Opaque, *const c_char) -> Opaque;
    ggml_backend_cpu_buffer_type: fn() -> Opaque;
    ggml_backend_buft_name: fn(Opaque) -> *const c_char;
    ggml_backend_buft_alloc_buffer: fn(Opaque, usize) -> Opaque;
    ggml_backend_alloc_ctx_tensors_from_buft: fn(Opaque, Opaque) -> Opaque;
    ggml_backend_buffer_get_base: fn(Opaque) -> Opaque;
    ggml_backend_buffer_free: fn(Opaque);
    ggml_backend_tensor_alloc: fn(Opaque, Opaque, Opaque) -> i32;
    ggml_backend_tensor_set: fn(Opaque, *const c_void, usize, usize);
    ggml_backend_tensor_get: fn(Opaque, *mut c_void, usize, usize);
    ggml_backend_graph_compute: fn(Opaque, Opaque) -> i32;
}

/// `GGML_TYPE_F32`.
const F32: i32 = 0;
/// `GGML_TYPE_F16`.
const F16: i32 = 1;
/// `GGML_TYPE_COUNT` of the version that is supported.
const TYPES: i32 = 43;
/// Nodes and leaves that a graph of one product may have.
const GRAPH_LEN: usize = 8;
/// `GGML_STATUS_SUCCESS`.
const SUCCESS: i32 = 0;
/// ggml's own alignment of tensors and more.
const ALIGNMENT: usize = 64;

/// A type of ggml's tensors that this version has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format(i32);

impl Format {
    pub(crate) fn is_half(self) -> bool {
        self.0 == F16
    }
}

/// In which of the CPU backend's memories weights lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// The format's own layout.
    Plain,
    /// The layout that the backend's repacked buffer type chooses.
    Repacked,
}

/// The loaded libraries; they stay until the process ends.
pub(crate) struct Ggml {
    api: Api,
    _library: Library,
}

impl Ggml {
    /// The library that names all others as its dependencies.
    pub(crate) const FILE: &str = "libggml.so";

    /// Loads the libraries of a folder.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<&'static Ggml> {
        let path = folder.join(Self::FILE);
        // SAFETY: loading runs the library's initializers, which only fill its own tables.
        let library = unsafe { Library::new(&path) }.with_context(|| format!("cannot load {}", path.display()))?;
        // SAFETY: `ggml_version` takes nothing and returns a static string in every version; the check below precedes all other calls.
        let api = unsafe { Api::load(&library) }?;
        let ggml: &'static Ggml = Box::leak(Box::new(Ggml { api, _library: library }));
        // SAFETY: as above.
        let version = unsafe { text((ggml.api.ggml_version)()) };
        ensure!(version.starts_with("0.25."), "{} is ggml {version}; the calls here are for 0.25", path.display());
        // SAFETY: the function lives as long as the program and needs no data.
        unsafe { (ggml.api.ggml_log_set)(Some(log), null_mut()) };
        Ok(ggml)
    }

    pub(crate) fn version(&self) -> String {
        // SAFETY: both take nothing and return static strings.
        unsafe { format!("ggml {} of {}", text((self.api.ggml_version)()), text((self.api.ggml_commit)())) }
    }

    /// What the kernels were compiled for.
    pub(crate) fn features(&self) -> String {
        let api = &self.api;
        let all: [(&str, unsafe extern "C" fn() -> i32); 6] = [
            ("AVX2", api.ggml_cpu_has_avx2),
            ("AVX-VNNI", api.ggml_cpu_has_avx_vnni),
            ("AVX-512", api.ggml_cpu_has_avx512),
            ("VBMI", api.ggml_cpu_has_avx512_vbmi),
            ("AVX-512-VNNI", api.ggml_cpu_has_avx512_vnni),
            ("AMX", api.ggml_cpu_has_amx_int8),
        ];
        // SAFETY: these take nothing and return what was known at compile time.
        let has = all.into_iter().filter(|(_, has)| unsafe { has() } != 0).map(|(name, _)| name);
        has.collect::<Vec<_>>().join(" ")
    }

    /// The format of a name, where this version has it.
    pub(crate) fn format(&self, name: &str) -> Option<Format> {
        // SAFETY: every number below the count is a type or has no name; names are static strings.
        let name_of = |id| unsafe {
            let pointer = (self.api.ggml_type_name)(id);
            if pointer.is_null() { String::new() } else { text(pointer) }
        };
        (0..TYPES).find(|&id| name_of(id) == name).map(Format)
    }

    fn traits(&self, format: Format) -> &TypeTraits {
        // SAFETY: the format is a type of this version, and its traits are static.
        unsafe { &*(self.api.ggml_get_type_traits)(format.0) }
    }

    /// Weights of a block: rows must be made of whole ones.
    pub(crate) fn block_len(&self, format: Format) -> usize {
        self.traits(format).blck_size as usize
    }

    /// Quantizes rows of `k` weights with ggml's own quantizer, without an importance matrix.
    ///
    /// # Panics
    ///
    /// When `k` is not made of whole blocks, or the rows are not whole.
    pub(crate) fn quantize(&self, format: Format, weights: &[f32], k: usize) -> Vec<u8> {
        assert!(k.is_multiple_of(self.block_len(format)) && weights.len().is_multiple_of(k), "rows must be whole");
        let rows = weights.len() / k;
        // SAFETY: a pure function of a valid type.
        let row_bytes = unsafe { (self.api.ggml_row_size)(format.0, k as i64) };
        let mut bytes = vec![0u8; rows * row_bytes];
        // SAFETY: the source has `rows * k` floats, the destination the size that ggml gives for them; these formats need no importance
        // matrix.
        let written = unsafe {
            (self.api.ggml_quantize_chunk)(
                format.0,
                weights.as_ptr(),
                bytes.as_mut_ptr().cast(),
                0,
                rows as i64,
                k as i64,
                std::ptr::null(),
            )
        };
        assert_eq!(written, bytes.len(), "ggml wrote as much as it said");
        bytes
    }

    /// The weights of whole blocks.
    pub(crate) fn dequantize(&self, format: Format, bytes: &[u8]) -> Vec<f32> {
        let traits = self.traits(format);
        let mut weights = vec![0.0f32; bytes.len() / traits.type_size * traits.blck_size as usize];
        if let Some(to_float) = traits.to_float {
            // SAFETY: the source has the blocks of exactly so many weights.
            unsafe { to_float(bytes.as_ptr().cast(), weights.as_mut_ptr(), weights.len() as i64) };
        }
        weights
    }
}

/// # Safety
///
/// The pointer must be to a string that ends with zero and lives long enough.
unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the caller vouches for it.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A CPU backend with a fixed number of threads.
///
/// With one thread everything runs on the caller. With more there is a pool of ggml's own; its threads poll while they wait for
/// work, so they are paused while others are measured.
pub(crate) struct Backend {
    ggml: &'static Ggml,
    backend: Opaque,
    pool: Opaque,
}

impl Backend {
    pub(crate) fn try_new(ggml: &'static Ggml, threads: usize) -> anyhow::Result<Backend> {
        let api = &ggml.api;
        let count = i32::try_from(threads).context("too many threads")?;
        // SAFETY: takes nothing; null is checked.
        let backend = unsafe { (api.ggml_backend_cpu_init)() };
        ensure!(!backend.is_null(), "ggml has no CPU backend");
        let mut this = Backend { ggml, backend, pool: null_mut() };
        // SAFETY: the backend is a CPU backend.
        unsafe { (api.ggml_backend_cpu_set_n_threads)(backend, count) };
        if threads > 1 {
            let mut params = ThreadpoolParams {
                cpumask: [false; 512],
                n_threads: 0,
                prio: 0,
                poll: 0,
                strict_cpu: false,
                paused: false,
            };
            // SAFETY: the structure is ggml's; the pool is freed after the backend that uses it.
            unsafe {
                (api.ggml_threadpool_params_init)(&mut params, count);
                params.paused = true;
                this.pool = (api.ggml_threadpool_new)(&mut params);
                ensure!(!this.pool.is_null(), "ggml cannot start {threads} threads");
                (api.ggml_backend_cpu_set_threadpool)(backend, this.pool);
            }
        }
        Ok(this)
    }

    pub(crate) fn ggml(&self) -> &'static Ggml {
        self.ggml
    }

    fn device(&self) -> Opaque {
        // SAFETY: the backend lives.
        unsafe { (self.ggml.api.ggml_backend_get_device)(self.backend) }
    }

    /// The buffer type of a memory; the repacked one is asked of the registry, as llama.cpp does.
    fn buffer_type(&self, memory: Memory) -> Option<Opaque> {
        let api = &self.ggml.api;
        if memory == Memory::Plain {
            // SAFETY: takes nothing, returns something static.
            return Some(unsafe { (api.ggml_backend_cpu_buffer_type)() });
        }
        // SAFETY: the function of this name takes a device and returns a list of buffer types that ends with null, all static.
        unsafe {
            let registry = (api.ggml_backend_dev_backend_reg)(self.device());
            let address =
                (api.ggml_backend_reg_get_proc_address)(registry, c"ggml_backend_dev_get_extra_bufts".as_ptr());
            if address.is_null() {
                return None;
            }
            let extra = std::mem::transmute::<Opaque, unsafe extern "C" fn(Opaque) -> *const Opaque>(address);
            let mut next = extra(self.device());
            while !next.is_null() && !(*next).is_null() {
                if text((api.ggml_backend_buft_name)(*next)) == "CPU_REPACK" {
                    return Some(*next);
                }
                next = next.add(1);
            }
        }
        None
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: both were made by `try_new` and are used by nothing else; products hold this backend.
        unsafe {
            (self.ggml.api.ggml_backend_free)(self.backend);
            if !self.pool.is_null() {
                (self.ggml.api.ggml_threadpool_free)(self.pool);
            }
        }
    }
}

/// What a product owns: tensors without data, and the buffers of their data.
struct Owned {
    backend: Rc<Backend>,
    contexts: Vec<Opaque>,
    buffers: Vec<Opaque>,
}

impl Owned {
    fn context(&mut self, tensors: usize, graphs: usize) -> anyhow::Result<Opaque> {
        let api = &self.backend.ggml.api;
        // SAFETY: pure functions, then an allocation that is checked and freed on drop.
        let context = unsafe {
            let mem_size = tensors * (api.ggml_tensor_overhead)()
                + graphs * ((api.ggml_graph_overhead_custom)(GRAPH_LEN, false) + ALIGNMENT);
            (api.ggml_init)(InitParams { mem_size, mem_buffer: null_mut(), no_alloc: true })
        };
        ensure!(!context.is_null(), "ggml cannot allocate a context");
        self.contexts.push(context);
        Ok(context)
    }

    /// Takes over a buffer.
    fn keep(&mut self, buffer: Opaque, what: &str) -> anyhow::Result<Opaque> {
        ensure!(!buffer.is_null(), "ggml cannot allocate the {what}");
        self.buffers.push(buffer);
        Ok(buffer)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let api = &self.backend.ggml.api;
        // SAFETY: made here, freed once; the backend is still alive.
        unsafe {
            self.buffers.iter().for_each(|&buffer| (api.ggml_backend_buffer_free)(buffer));
            self.contexts.iter().for_each(|&context| (api.ggml_free)(context));
        }
    }
}

/// `ggml_mul_mat` of several copies of weights `[m, k]` with one matrix of activations `[n, k]`, a graph of one node each.
pub(crate) struct MulMat {
    owned: Owned,
    weights: Vec<Opaque>,
    x: Opaque,
    outputs: Vec<Opaque>,
    graphs: Vec<Opaque>,
    last: usize,
    out_len: usize,
}

impl MulMat {
    /// Allocates everything; nothing where the backend has no kernel for this memory. `shape` is `[m, k, n]`.
    pub(crate) fn try_new(
        backend: &Rc<Backend>,
        format: Format,
        memory: Memory,
        shape: [usize; 3],
        copies: usize,
    ) -> anyhow::Result<Option<MulMat>> {
        let api = &backend.ggml.api;
        let Some(buffer_type) = backend.buffer_type(memory) else { return Ok(None) };
        let [m, k, n] = shape.map(|extent| extent as i64);
        let mut owned = Owned { backend: Rc::clone(backend), contexts: Vec::new(), buffers: Vec::new() };
        let of_weights = owned.context(copies, 0)?;
        let of_graphs = owned.context(copies + 1, copies)?;
        // SAFETY: the contexts have room for these tensors and graphs; weights are allocated by ggml from the buffer type, activations
        // and outputs inside a buffer of their size. All outputs share one place, because only one graph runs at a time.
        unsafe {
            let weights: Vec<Opaque> =
                (0..copies).map(|_| (api.ggml_new_tensor_2d)(of_weights, format.0, k, m)).collect();
            owned.keep((api.ggml_backend_alloc_ctx_tensors_from_buft)(of_weights, buffer_type), "weights")?;
            let x = (api.ggml_new_tensor_2d)(of_graphs, F32, k, n);
            let outputs: Vec<Opaque> = weights.iter().map(|&w| (api.ggml_mul_mat)(of_graphs, w, x)).collect();
            if !(api.ggml_backend_dev_supports_op)(backend.device(), outputs[0]) {
                return Ok(None);
            }
            let x_bytes = (4 * shape[2] * shape[1]).next_multiple_of(ALIGNMENT);
            let out_len = shape[2] * shape[0];
            let plain = (api.ggml_backend_cpu_buffer_type)();
            let buffer = (api.ggml_backend_buft_alloc_buffer)(plain, x_bytes + 4 * out_len + 16 * ALIGNMENT);
            owned.keep(buffer, "activations")?;
            let base = (api.ggml_backend_buffer_get_base)(buffer);
            ensure!((api.ggml_backend_tensor_alloc)(buffer, x, base) == SUCCESS, "ggml cannot place the activations");
            let graph = |&output: &Opaque| {
                let status = (api.ggml_backend_tensor_alloc)(buffer, output, base.byte_add(x_bytes));
                ensure!(status == SUCCESS, "ggml cannot place the output");
                let graph = (api.ggml_new_graph_custom)(of_graphs, GRAPH_LEN, false);
                (api.ggml_build_forward_expand)(graph, output);
                Ok(graph)
            };
            let graphs = outputs.iter().map(graph).collect::<anyhow::Result<_>>()?;
            Ok(Some(MulMat { owned, weights, x, outputs, graphs, last: 0, out_len }))
        }
    }

    /// Sets every copy to `weights`, which are repacked here where the memory asks for it, and the activations to `x`.
    pub(crate) fn set(&mut self, weights: &[u8], x: &[f32]) {
        let api = &self.owned.backend.ggml.api;
        // SAFETY: ggml asserts that the range lies inside the tensor; the sources have what they say.
        unsafe {
            for &tensor in &self.weights {
                (api.ggml_backend_tensor_set)(tensor, weights.as_ptr().cast(), 0, weights.len());
            }
            (api.ggml_backend_tensor_set)(self.x, x.as_ptr().cast(), 0, size_of_val(x));
        }
    }
}

impl Product for MulMat {
    fn run(&mut self, call: usize) {
        self.last = call % self.graphs.len();
        let backend = &self.owned.backend;
        // SAFETY: the graph's tensors are allocated, and nobody else computes on this backend now.
        let status = unsafe { (backend.ggml.api.ggml_backend_graph_compute)(backend.backend, self.graphs[self.last]) };
        assert_eq!(status, SUCCESS, "ggml computes one product");
    }

    fn output(&mut self) -> Vec<f32> {
        let mut out = vec![0.0f32; self.out_len];
        let api = &self.owned.backend.ggml.api;
        // SAFETY: the output tensor has so many floats.
        unsafe {
            (api.ggml_backend_tensor_get)(self.outputs[self.last], out.as_mut_ptr().cast(), 0, size_of_val(&out[..]));
        }
        out
    }

    fn rest(&mut self) {
        let backend = &self.owned.backend;
        if !backend.pool.is_null() {
            // SAFETY: the pool lives as long as the backend, and nothing computes now.
            unsafe { (backend.ggml.api.ggml_threadpool_pause)(backend.pool) };
        }
    }
}
