//! From an error to a message, a JSON object, and an exit status.
//!
//! Status 2: wrong usage or bad input. Status 1: everything else. A person sees `error[Variant]: message`; with `--json` standard
//! output holds `{"error": {"variant", "message", "file", "place"}}`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use parsimon::tensor::{Cancelled, Diagnose};
use serde::Serialize;

const BAD_INPUT: u8 = 2;
const OTHER: u8 = 1;

/// How every library names an interrupted run.
const CANCELLED: &str = "Cancelled";

/// A failure as it is reported.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    variant: String,
    message: String,
    file: Option<String>,
    place: Option<String>,
    #[serde(skip)]
    status: u8,
}

/// Wrong input that only the command line can notice.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct BadInput {
    pub(crate) file: Option<std::path::PathBuf>,
    pub(crate) message: String,
}

impl BadInput {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        BadInput { file: None, message: message.into() }
    }

    pub(crate) fn in_file(file: &Path, message: impl Into<String>) -> Self {
        BadInput { file: Some(file.to_owned()), message: message.into() }
    }
}

impl Diagnose for BadInput {
    fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Every error type of the libraries that a command can meet.
fn diagnosis(error: &anyhow::Error) -> Option<&dyn Diagnose> {
    macro_rules! first_of {
        ($($kind:ty),+ $(,)?) => {
            error.chain().find_map(|cause| {
                $(if let Some(error) = cause.downcast_ref::<$kind>() {
                    return Some(error as &dyn Diagnose);
                })+
                None
            })
        };
    }
    first_of!(
        BadInput,
        crate::report::BenchError,
        parsimon::tensor::io::FormatError,
        parsimon::tensor::io::PthError,
        parsimon::tensor::quant::QuantError,
        parsimon::tensor::quant::gptq::GptqError,
        parsimon::ann::AnnError,
        parsimon::ann::VectorFileError,
        parsimon::attn::AttnError,
        parsimon::lut::PackError,
        parsimon::model::ChatError,
        parsimon::model::ConfigError,
        parsimon::model::ModelError,
        parsimon::model::SamplerError,
        parsimon::model::TokenizerError,
        parsimon::data::CurateError,
        parsimon::data::warc::WarcError,
        parsimon::reason::LoadError,
        parsimon::reason::PolicyError,
        parsimon::reason::RunnerError,
        parsimon::reason::SolveError,
        parsimon::reason::countdown::EvolveError,
        parsimon::reason::countdown::MlpError,
        parsimon::reason::run::RunError,
        parsimon::train::TrainError,
        parsimon::vq::CheckpointError,
        parsimon::vq::KMeansError,
    )
}

impl Failure {
    pub(crate) fn from_error(error: &anyhow::Error) -> Self {
        // The chain, without a cause that only repeats what its wrapper already said.
        let mut message = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !message.ends_with(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        if error.chain().any(|cause| cause.is::<Cancelled>())
            || diagnosis(error).is_some_and(|e| e.variant() == CANCELLED)
        {
            // Training and curation keep what is done; other commands have written nothing under a final name.
            let message = "stopped; the same command goes on from what is saved".to_owned();
            return Failure { variant: CANCELLED.into(), message, file: None, place: None, status: OTHER };
        }
        if let Some(known) = diagnosis(error) {
            return Failure {
                variant: known.variant(),
                message,
                file: known.file().map(|path| path.display().to_string()),
                place: known.place(),
                status: if known.is_bad_input() { BAD_INPUT } else { OTHER },
            };
        }
        let (variant, status) =
            if error.is::<parsimon::simd::UnknownLevel>() { ("UnknownLevel", BAD_INPUT) } else { ("Error", OTHER) };
        Failure { variant: variant.into(), message, file: None, place: None, status }
    }

    /// Prints the failure and gives the exit status.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        #[derive(Serialize)]
        struct Wrapper<'a> {
            error: &'a Failure,
        }
        eprintln!("error[{}]: {}", self.variant, self.message);
        if json {
            let text = serde_json::to_string(&Wrapper { error: self }).expect("strings serialize");
            // Nobody is left to tell when standard output is closed.
            let _ = writeln!(std::io::stdout(), "{text}");
        }
        ExitCode::from(self.status)
    }
}

/// Help and version go to standard output; wrong usage is a failure like any other.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|arg| arg == "--json") {
        let message = error.to_string().trim_end().to_owned();
        let failure = Failure { variant: "Usage".into(), message, file: None, place: None, status: BAD_INPUT };
        return failure.report(true);
    }
    let _ = error.print();
    ExitCode::from(BAD_INPUT)
}
