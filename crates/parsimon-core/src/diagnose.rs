//! What an error tells the command line: its name, the file and the place, and whose fault it was.

use std::error::Error;
use std::fmt;
use std::path::Path;

/// An error that can be reported to a person and to a machine in the same words.
///
/// The command line prints `error[Variant]: message`, and with `--json` the fields of this trait.
pub trait Diagnose: Error {
    /// The name of the error's variant, taken from its `Debug` form.
    fn variant(&self) -> String {
        variant_name(self)
    }

    /// The file that the error speaks of.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Where in the file: a tensor, a key, a line, a byte offset.
    fn place(&self) -> Option<String> {
        None
    }

    /// Whether bad input caused it (exit status 2), as opposed to the machine or a defect (exit status 1).
    fn is_bad_input(&self) -> bool {
        true
    }
}

/// The first word of a value's `Debug` form: for an enum, the name of its variant.
pub fn variant_name<T: fmt::Debug + ?Sized>(value: &T) -> String {
    let debug = format!("{value:?}");
    debug.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
