//! How a vocabulary spells bytes.

use tokenizers::DecoderWrapper;

/// The spelling of a vocabulary, told by its decoder.
pub(super) enum Spelling {
    /// Every byte is one character of GPT-2's table.
    ByteLevel,
    /// `▁` is a space and `<0x41>` a byte.
    Metaspace,
    /// Only the decoder knows.
    Other,
}

impl Spelling {
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Spelling {
        tokenizer.get_decoder().map_or(Spelling::Other, Spelling::of_decoder)
    }

    fn of_decoder(decoder: &DecoderWrapper) -> Spelling {
        match decoder {
            DecoderWrapper::ByteLevel(_) => Spelling::ByteLevel,
            DecoderWrapper::Metaspace(_) | DecoderWrapper::ByteFallback(_) => Spelling::Metaspace,
            DecoderWrapper::Sequence(sequence) => {
                let known = sequence.get_decoders().iter().map(Spelling::of_decoder);
                known.into_iter().find(|spelling| !matches!(spelling, Spelling::Other)).unwrap_or(Spelling::Other)
            }
            _ => Spelling::Other,
        }
    }

    pub(super) fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Spelling::ByteLevel => {
                let bytes: Option<Vec<u8>> = token.chars().map(byte_level).collect();
                bytes.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Spelling::Metaspace => {
                let digits = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                match digits.filter(|digits| digits.len() == 2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                    Some(byte) => vec![byte],
                    None => token.replace('▁', " ").into_bytes(),
                }
            }
            Spelling::Other => token.as_bytes().to_vec(),
        }
    }
}

/// The byte of a character of GPT-2's table: printable Latin-1 characters are themselves, the 68 other bytes are U+0100 and on, in order.
fn byte_level(character: char) -> Option<u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match u32::from(character) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| printable(byte)),
        code => (0..=255u8).filter(|&byte| !printable(byte)).nth((code - 0x100) as usize),
    }
}
