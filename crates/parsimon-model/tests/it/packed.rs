//! Quantized folders: the model that a packed form gives is that of its dequantized weights.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use parsimon_core::io::{Checkpoint, TensorData, read_json, write_json, write_safetensors};
use parsimon_core::quant::rtn::{Levels, quantize};
use parsimon_core::quant::{GroupQuantized, Zeros, gptq, packed::bitnet};
use parsimon_core::{CancelFlag, Control, DType, NoProgress};
use parsimon_model::{Linear, LoadOptions, Model, QuantizeOptions, quantize_folder};
use parsimon_testkit::{committed, rel_l2};
use serde_json::{Value, json};

const PROMPT: [u32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];

type Tensors = BTreeMap<String, TensorData>;

/// A committed model whose projections `pack` turns into other tensors; beside it the same with their dequantized weights.
struct Case<'a> {
    dir: tempfile::TempDir,
    source: &'a Path,
    quantization: Value,
    /// Whether the output layer is packed too.
    packs_output: bool,
}

impl Case<'_> {
    fn run(&self, pack: impl Fn(&str, &[f32], usize, usize) -> (Tensors, Vec<f32>)) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let checkpoint = Checkpoint::open(self.source).unwrap();
        let (mut packed, mut dense) = (Tensors::new(), Tensors::new());
        for name in checkpoint.names() {
            let view = checkpoint.tensor(name).unwrap();
            let values = view.to_f32().unwrap();
            let prefix = name
                .strip_suffix(".weight")
                .filter(|prefix| prefix.ends_with("_proj") || self.packs_output && *prefix == "lm_head");
            let shape = view.shape();
            if let (Some(prefix), &[m, k]) = (prefix, shape) {
                let (tensors, weights) = pack(prefix, &values, m, k);
                packed.extend(tensors);
                dense.insert(name.to_owned(), TensorData::from_f32(shape, &weights));
            } else {
                let tensor = TensorData::from_f32(shape, &values);
                packed.insert(name.to_owned(), tensor.clone());
                dense.insert(name.to_owned(), tensor);
            }
        }
        let mut config: Value = read_json(&self.source.join("config.json")).unwrap();
        let write = |name: &str, config: &Value, tensors: &Tensors| {
            let folder = self.dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            write_json(&folder.join("config.json"), config).unwrap();
            write_safetensors(&folder.join("model.safetensors"), tensors, None).unwrap();
            folder
        };
        let dense = write("dense", &config, &dense);
        config["quantization_config"] = self.quantization.clone();
        let packed = write("packed", &config, &packed);
        let logits = |folder: &Path, dequantize: bool| {
            let model = Model::open(folder, &LoadOptions { dequantize, ..LoadOptions::default() }).unwrap();
            model.logits(&PROMPT, &mut model.new_state()).unwrap()
        };
        (logits(&packed, false), logits(&packed, true), logits(&dense, false))
    }

    /// Decoded: the same bits. Packed: within what 8-bit activations of every layer make of random models.
    #[track_caller]
    fn check(&self, what: &str, pack: impl Fn(&str, &[f32], usize, usize) -> (Tensors, Vec<f32>)) {
        let (packed, decoded, dense) = self.run(pack);
        assert_eq!(decoded, dense, "{what}");
        let dense: Vec<f64> = dense.into_iter().map(f64::from).collect();
        let error = rel_l2(&packed, &dense);
        assert!(error < 0.05, "{what}: {error}");
    }
}

fn case(source: &Path, quantization: Value) -> Case<'_> {
    Case { dir: tempfile::tempdir().unwrap(), source, quantization, packs_output: false }
}

/// Scales as the files hold them.
fn quantized(values: &[f32], m: usize, k: usize, levels: Levels, group: usize) -> GroupQuantized {
    let mut matrix = quantize(values, m, k, levels, group).unwrap();
    matrix.scales.iter_mut().for_each(|scale| *scale = f16::from_f32(*scale).to_f32());
    matrix
}

fn families(run: impl FnOnce(&Path) -> usize) {
    committed("parsimon-model", env!("CARGO_MANIFEST_DIR"), |dir| run(&dir.join("families")));
}

#[test]
fn gptq_of_every_width_runs_with_and_without_act_order() {
    families(|dir| {
        for bits in [2, 3, 4, 8] {
            for act_order in [false, true] {
                for (version, offset) in [("gptq", 1), ("gptq_v2", 0)] {
                    let quantization = json!({"quant_method": "gptq", "bits": bits, "group_size": 16,
                        "desc_act": act_order, "checkpoint_format": version});
                    let source = dir.join("llama_linear");
                    let case = Case { packs_output: act_order, ..case(&source, quantization) };
                    case.check(&format!("{bits} bits, {act_order}, {version}"), |prefix, values, m, k| {
                        if bits == 3 && [m, k].iter().any(|side| side % 32 != 0) {
                            // Such sides fill no whole words; files leave the layer as it is.
                            let weights = TensorData::from_f32(&[m, k], values);
                            return (BTreeMap::from([(format!("{prefix}.weight"), weights)]), values.to_vec());
                        }
                        let mut matrix = quantized(values, m, k, Levels::Bits(bits), 16);
                        if act_order {
                            let groups = (k / 16) as u32;
                            matrix.g_idx = Some((0..k as u32).map(|c| (7 * c + 3) % groups).collect());
                        }
                        let weights = matrix.dequantize();
                        // Version 1 subtracts one, and wraps.
                        if let Zeros::Points(points) = &mut matrix.zeros {
                            points.iter_mut().for_each(|zp| *zp = (*zp + (1 << bits) - offset) & ((1 << bits) - 1));
                        }
                        (gptq::pack(prefix, &matrix).unwrap(), weights)
                    });
                }
            }
        }
        16
    });
}

/// A folder of packed layers changes nothing, also where a layer has no kernel: groups of 24 inputs.
#[test]
fn layers_without_a_kernel_run_beside_a_folder_of_packed_ones() {
    families(|dir| {
        let source = dir.join("llama_linear");
        let case =
            case(&source, json!({"quant_method": "gptq", "bits": 4, "group_size": 24, "checkpoint_format": "gptq_v2"}));
        case.check("groups of 24", |prefix, values, m, k| {
            let matrix = quantized(values, m, k, Levels::Bits(4), 24);
            (gptq::pack(prefix, &matrix).unwrap(), matrix.dequantize())
        });
        let folder = case.dir.path().join("packed");
        let open = |pack_cache| Model::open(&folder, &LoadOptions { pack_cache, ..LoadOptions::default() }).unwrap();
        let plain = open(None);
        assert!(plain.linears().any(|linear| matches!(linear, Linear::Dense(_))));
        let cached = open(Some(case.dir.path().join("cache")));
        let logits = |model: &Model| model.logits(&PROMPT, &mut model.new_state()).unwrap();
        assert_eq!(logits(&cached), logits(&plain));
        1
    });
}

/// AWQ's words: nibble `i` is output `[0, 2, 4, 6, 1, 3, 5, 7][i]` of eight.
fn awq(prefix: &str, matrix: &GroupQuantized) -> Tensors {
    const ORDER: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let GroupQuantized { m, k, .. } = *matrix;
    let groups = matrix.n_groups();
    let Zeros::Points(points) = &matrix.zeros else { panic!("integer zero points") };
    let words = |rows: usize, code: &dyn Fn(usize, usize) -> u32| {
        let word = |row: usize, w: usize| (0..8).fold(0u32, |word, i| word | code(8 * w + ORDER[i], row) << (4 * i));
        (0..rows).flat_map(|row| (0..m / 8).map(move |w| (row, w))).map(|(row, w)| word(row, w) as i32).collect()
    };
    let qweight: Vec<i32> = words(k, &|output, input| matrix.codes[output * k + input].into());
    let qzeros: Vec<i32> = words(groups, &|output, group| points[output * groups + group].into());
    let scales: Vec<f16> = (0..groups * m).map(|i| f16::from_f32(matrix.scales[i % m * groups + i / m])).collect();
    BTreeMap::from([
        (format!("{prefix}.qweight"), TensorData::from_i32(&[k, m / 8], &qweight)),
        (format!("{prefix}.qzeros"), TensorData::from_i32(&[groups, m / 8], &qzeros)),
        (format!("{prefix}.scales"), TensorData::from_f16(&[groups, m], &scales)),
    ])
}

#[test]
fn awq_runs() {
    families(|dir| {
        for name in ["llama_linear", "qwen2_sliding", "phi3_partial_longrope"] {
            let source = dir.join(name);
            let quantization = json!({"quant_method": "awq", "bits": 4, "group_size": 16, "version": "gemm"});
            case(&source, quantization).check(name, |prefix, values, m, k| {
                let matrix = quantized(values, m, k, Levels::Bits(4), 16);
                (awq(prefix, &matrix), matrix.dequantize())
            });
        }
        3
    });
}

/// EfficientQAT's words of ten 3-bit codes, known by their number, and its zero points, which are as they are.
#[test]
fn three_bit_codes_ten_a_word_run() {
    families(|dir| {
        let source = dir.join("llama_linear");
        let quantization = json!({"quant_method": "gptq", "bits": 3, "group_size": 16});
        case(&source, quantization).check("ten codes a word", |prefix, values, m, k| {
            let matrix = quantized(values, m, k, Levels::Bits(3), 16);
            let groups = matrix.n_groups();
            let Zeros::Points(points) = &matrix.zeros else { panic!("integer zero points") };
            let word = |codes: &mut dyn Iterator<Item = u32>| {
                codes.enumerate().fold(0u32, |word, (i, code)| word | code << (3 * i)) as i32
            };
            let column =
                |w: usize, r: usize| word(&mut (10 * w..k.min(10 * w + 10)).map(|c| matrix.codes[r * k + c].into()));
            let row =
                |g: usize, w: usize| word(&mut (10 * w..m.min(10 * w + 10)).map(|r| points[r * groups + g].into()));
            let (k_words, m_words) = (k.div_ceil(10), m.div_ceil(10));
            let qweight: Vec<i32> = (0..k_words * m).map(|i| column(i / m, i % m)).collect();
            let qzeros: Vec<i32> = (0..groups * m_words).map(|i| row(i / m_words, i % m_words)).collect();
            let scales: Vec<f16> =
                (0..groups * m).map(|i| f16::from_f32(matrix.scales[i % m * groups + i / m])).collect();
            let g_idx: Vec<i32> = (0..k).map(|c| (c / 16) as i32).collect();
            let tensors = BTreeMap::from([
                (format!("{prefix}.qweight"), TensorData::from_i32(&[k_words, m], &qweight)),
                (format!("{prefix}.qzeros"), TensorData::from_i32(&[groups, m_words], &qzeros)),
                (format!("{prefix}.scales"), TensorData::from_f16(&[groups, m], &scales)),
                (format!("{prefix}.g_idx"), TensorData::from_i32(&[k], &g_idx)),
            ]);
            (tensors, matrix.dequantize())
        });
        1
    });
}

/// Fused matrices are quantized as they stand and split when they are read.
#[test]
fn a_fused_folder_is_quantized_and_read_again() {
    families(|dir| {
        let out = tempfile::tempdir().unwrap();
        let control = Control { progress: &NoProgress, cancel: &CancelFlag::new() };
        let source = dir.join("phi3_partial_longrope");
        let options = QuantizeOptions::new(Levels::Bits(4), 16);
        let report = quantize_folder(&source, out.path(), &options, &control).unwrap();
        assert_eq!(report.layers.len(), 2 * 4);
        assert!(report.layers[0].name.ends_with("qkv_proj"));
        let json: Value = read_json(&out.path().join("config.json")).unwrap();
        assert_eq!(json["pad_token_id"], 0, "what is not read stays");
        let open = |dequantize| Model::open(out.path(), &LoadOptions { dequantize, ..LoadOptions::default() }).unwrap();
        let logits = |model: &Model| model.logits(&PROMPT, &mut model.new_state()).unwrap();
        let decoded: Vec<f64> = logits(&open(true)).into_iter().map(f64::from).collect();
        let packed = open(false);
        assert_eq!(packed.linears().filter(|linear| matches!(linear, Linear::LowBit(_))).count(), 2 * 7);
        let error = rel_l2(&logits(&packed), &decoded);
        assert!(error < 0.05, "{error}");
        1
    });
}

/// Packed with either rule, and made ternary at load: one model.
#[test]
fn bitnet_is_one_model_packed_and_online() {
    families(|dir| {
        let source = dir.join("llama_linear");
        let config = |class: &str, mode: &str| json!({"quant_method": "bitnet", "linear_class": class, "quantization_mode": mode});
        let pack = |divide: bool| {
            move |prefix: &str, values: &[f32], m: usize, k: usize| {
                let matrix = bitnet::ternarize(values, m, k).unwrap();
                let quarter = m / 4;
                let code = |row: usize, c: usize| matrix.codes[row * k + c];
                let byte =
                    |i: usize| (0..4).fold(0, |byte, part| byte | code(i / k + part * quarter, i % k) << (2 * part));
                let bytes: Vec<u8> = (0..quarter * k).map(byte).collect();
                let scale = matrix.scales[0];
                let tensors = BTreeMap::from([
                    (format!("{prefix}.weight"), TensorData { dtype: DType::U8, shape: vec![quarter, k], bytes }),
                    (
                        format!("{prefix}.weight_scale"),
                        TensorData::from_f32(&[1], &[if divide { 1.0 / scale } else { scale }]),
                    ),
                ]);
                (tensors, matrix.dequantize())
            }
        };
        let online = |prefix: &str, values: &[f32], m: usize, k: usize| {
            let weights = TensorData::from_f32(&[m, k], values);
            (
                BTreeMap::from([(format!("{prefix}.weight"), weights)]),
                bitnet::ternarize(values, m, k).unwrap().dequantize(),
            )
        };
        let (multiplied, _, dense) = case(&source, config("autobitlinear", "offline")).run(pack(false));
        let (divided, ..) = case(&source, config("bitlinear", "offline")).run(pack(true));
        let (made, ..) = case(&source, config("autobitlinear", "online")).run(online);
        assert_eq!(made, multiplied);
        let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        // The inverse of an inverse is another f32, which may move an activation across a tie.
        assert!(rel_l2(&divided, &wide(&multiplied)) < 0.01);
        let error = rel_l2(&multiplied, &wide(&dense));
        assert!(error > 0.0 && error < 0.05, "8-bit activations: {error}");
        3
    });
}
