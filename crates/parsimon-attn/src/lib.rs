//! Attention for the CPU.

mod error;
mod heads;

pub use error::AttnError;
pub use heads::HeadMap;
