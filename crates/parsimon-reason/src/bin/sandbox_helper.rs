//! The process between a solver and a model-written program: it isolates itself and becomes the interpreter. Tests use it; the command line
//! has the same as a hidden command.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::process::ExitCode::from(parsimon_reason::sandbox::helper_main(&arguments))
}
