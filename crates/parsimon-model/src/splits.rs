//! How byte-level vocabularies split text before they merge, by llama.cpp's names (`tokenizer.ggml.pre`).

/// Contractions, words with one leading sign, numbers of one to three digits, signs, and white space: Llama 3's split.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The same with one digit at a time.
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A split.
pub(crate) struct Split {
    /// Names that files have, the usual one first.
    pub(crate) names: &'static [&'static str],
    /// The expression; none is GPT-2's, which tokenizers have built in.
    pub(crate) pattern: Option<&'static str>,
    /// Whether a word that is a token is that token, whatever the merges say.
    pub(crate) ignore_merges: bool,
}

/// Every split that is known.
pub(crate) const SPLITS: [Split; 3] = [
    Split { names: &["gpt-2", "gpt2", "default"], pattern: None, ignore_merges: false },
    Split { names: &["llama-bpe", "llama3", "llama-v3"], pattern: Some(LLAMA_3), ignore_merges: true },
    Split { names: &["qwen2"], pattern: Some(QWEN_2), ignore_merges: false },
];
