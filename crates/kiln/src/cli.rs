//! Arguments, and which command they mean.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::config::{Flags, Settings, VARIABLES, gc, limits};
use crate::error::{CliError, EXIT_USAGE};

/// Turns descriptions of Python environments into container images, each once.
#[derive(Debug, Parser)]
#[command(name = "kiln", version, after_long_help = variables_help())]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command knows.
#[derive(Debug, Args)]
struct Common {
    /// The configuration file [env: KILN_CONFIG].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that holds everything kiln keeps [env: KILN_DATA].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Gets the image of an environment, building it when there is none.
    #[command(mut_arg("file", |file| file
        .required(false)
        .required_unless_present_any(["env", "locked"])))]
    Build(commands::build::BuildArgs),
    /// Prints the name of an environment's image; offline.
    Hash(commands::hash::HashArgs),
    /// Resolves an environment and prints its lock.
    Lock(commands::lock::LockArgs),
    /// Tells whether there is an image, why not, and what differs.
    Explain(commands::explain::ExplainArgs),
    /// Writes a folder that builds the image with plain `docker build`.
    Eject(commands::eject::EjectArgs),
    /// Named environments and their versions.
    Env(commands::env::EnvArgs),
    /// Private wheels.
    Wheel(commands::wheel::WheelArgs),
    /// Models and their versions.
    Model(commands::model::ModelArgs),
    /// Runs a command in the image of an environment, and keeps what came of it.
    Run(commands::run::RunArgs),
    /// What ran in which environment.
    Runs(commands::runs::RunsArgs),
    /// Subscriptions to events.
    Hooks(commands::hooks::HooksArgs),
    /// Tells what no running build and no current image needs, and removes it.
    Gc(commands::gc::GcArgs),
    /// Runs the daemon.
    Serve(commands::serve::ServeArgs),
    /// Checks what kiln needs on this machine, and says what is missing.
    Doctor(commands::doctor::DoctorArgs),
}

/// The environment and what overrides its document.
#[derive(Debug, Args, Clone)]
pub(crate) struct InputArgs {
    /// An Azure ML environment, a conda environment.yml, a pip requirements.txt, a folder that the
    /// SDK saved, or `-` for standard input.
    pub(crate) file: PathBuf,
    /// The base image, in place of the document's.
    #[arg(long, value_name = "REF")]
    pub(crate) base: Option<String>,
    /// Asks for the GPU default base when none is given.
    #[arg(long)]
    pub(crate) gpu: bool,
    /// os/arch[/variant].
    #[arg(long, value_name = "P")]
    pub(crate) platform: Option<String>,
    /// The folder with the files that the document includes (`-r`, `-c`).
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// What the document is, where its shape does not tell.
    #[arg(long, value_name = "KIND")]
    pub(crate) kind: Option<KindArg>,
}

/// The kinds of documents.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KindArg {
    /// An Azure ML environment.
    Azureml,
    /// A conda environment file.
    Conda,
    /// A pip requirements file.
    Requirements,
}

impl From<KindArg> for kiln_spec::Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Azureml => Self::AzureMl,
            KindArg::Conda => Self::Conda,
            KindArg::Requirements => Self::Requirements,
        }
    }
}

fn variables_help() -> String {
    let limits = limits::VARIABLES.map(|(name, meaning, _)| (name, meaning));
    let gc = gc::VARIABLES.map(|(name, meaning, _)| (name, meaning));
    let lines = VARIABLES
        .iter()
        .chain(&limits)
        .chain(&gc)
        .map(|(name, meaning)| format!("  {name:<32} {meaning}\n"));
    format!("Environment variables:\n{}", lines.collect::<String>())
}

/// Parses the arguments, runs the command, tells what went wrong.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => EXIT_USAGE,
            };
            // Nothing can be told when the terminal is gone.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.tell();
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), CliError> {
    let settings = |listen: Option<String>, registry: Option<String>| {
        let flags = Flags {
            config: cli.common.config,
            data: cli.common.data,
            listen,
            registry,
        };
        Settings::load(&flags, &|name| std::env::var(name).ok()).map_err(CliError::Settings)
    };
    match cli.command {
        // The one command that must answer at once: no settings, no runtime.
        Command::Hash(args) => commands::hash::run(&args),
        Command::Build(args) => {
            let settings = settings(None, args.registry.clone())?;
            block_on(commands::build::run(settings, args))
        }
        Command::Lock(args) => block_on(commands::lock::run(settings(None, None)?, args)),
        Command::Explain(args) => {
            let settings = settings(None, args.registry.clone())?;
            block_on(commands::explain::run(settings, args))
        }
        Command::Eject(args) => block_on(commands::eject::run(settings(None, None)?, args)),
        Command::Env(args) => block_on(commands::env::run(settings(None, None)?, args)),
        Command::Wheel(args) => block_on(commands::wheel::run(settings(None, None)?, args)),
        Command::Model(args) => block_on(commands::model::run(settings(None, None)?, args)),
        Command::Run(args) => block_on(commands::run::run(settings(None, None)?, args)),
        Command::Runs(args) => block_on(commands::runs::run(settings(None, None)?, args)),
        Command::Hooks(args) => block_on(commands::hooks::run(settings(None, None)?, args)),
        Command::Gc(args) => block_on(commands::gc::run(settings(None, None)?, args)),
        Command::Serve(args) => {
            let settings = settings(args.listen.clone(), args.registry.clone())?;
            block_on(commands::serve::run(settings))
        }
        Command::Doctor(args) => block_on(commands::doctor::run(
            settings(None, args.registry.clone())?,
            args,
        )),
    }
}

fn block_on(command: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    // One provider for all TLS of the process, chosen before anything connects.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::kiln("kiln can't start its threads", &error))?;
    let result = runtime.block_on(command);
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
