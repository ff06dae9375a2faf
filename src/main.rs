//! The program: chooses its role before anything else exists.

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|role| role == setpoint::engine::networks::dns::ROLE) {
        return setpoint::engine::networks::dns::main(arguments);
    }
    std::process::ExitCode::SUCCESS
}
