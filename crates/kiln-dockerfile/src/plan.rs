//! The plan: one Dockerfile, its context, and what must be there beside them.

use kiln_lock::{BaseFacts, Lock};
use kiln_spec::{Definition, SpecHash};

use crate::ast::{Dockerfile, Instruction};
use crate::base::{BaseImage, FromReference, UserName};
use crate::context::ContextFile;
use crate::error::PlanError;
use crate::steps::Steps;
use crate::user_dockerfile::{UserContext, UserDockerfile};
use crate::{KILN_PREFIX, conda, inferencing, kiln_install, plain, variables};

/// The longest line that BuildKit reads, in bytes.
const LINE_LIMIT: usize = 65_535;

/// All that a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// What is built.
    pub definition: &'a Definition,
    /// Its identity.
    pub spec_hash: SpecHash,
    /// What it resolved to.
    pub lock: &'a Lock,
    /// Facts about the base. Where the user's own Dockerfile is the base, `env` and `user` must be those
    /// of the image it made, or its user is not restored.
    pub facts: &'a BaseFacts,
    /// What the steps start from.
    pub base: BaseImage<'a>,
    /// The definition's build context, where a workspace keeps it.
    pub context: Option<&'a UserContext>,
    /// How packages are installed.
    pub installer: Installer,
    /// Whether the steps must trust another certificate authority.
    pub extra_ca: bool,
    /// Whether a channel or index wants credentials; only [`Installer::Micromamba`] asks for them.
    pub private: bool,
}

impl PlanInput<'_> {
    /// Whether the base may run as another user than root.
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self.base, BaseImage::UserDockerfile)
            || !matches!(UserName::of_base(&self.facts.user), Ok(None))
    }
}

/// How packages are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installer {
    /// By the base's conda where it has one, else by `kiln-install`; the archives are in the context.
    Kiln,
    /// By nothing that runs: the packages are layers at kiln's prefix.
    Layers,
    /// By widely used tools alone, which fetch the archives; for ejected folders.
    Micromamba,
}

/// What installs the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Nothing is installed.
    Nothing,
    /// The base's conda, by `conda env create` as Azure ML calls it.
    CondaEnvCreate,
    /// `kiln-install`.
    KilnInstall,
    /// Nothing: packages are layers.
    Layers,
    /// The base's conda, with an explicit file.
    Conda,
    /// micromamba, with an explicit file.
    Micromamba,
    /// venv and pip of the base's python.
    Pip,
}

/// A secret that the build must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretMount {
    /// Its id.
    pub id: &'static str,
    /// Where the step sees it.
    pub target: &'static str,
    /// What it is, for people.
    pub what: &'static str,
}

/// How to build the image of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The Dockerfile that must be built first, as it is, with its own context.
    pub user_dockerfile: Option<UserDockerfile>,
    /// kiln's Dockerfile.
    pub dockerfile: Dockerfile,
    /// The context's files beside the Dockerfile, sorted by path, each path once.
    pub context: Vec<ContextFile>,
    /// The secrets the build must be given.
    pub secrets: Vec<SecretMount>,
    /// Where the environment is installed.
    pub prefix: Option<String>,
    /// What installs it.
    pub tool: Tool,
    /// Sentences for people: what was chosen, and why.
    pub notes: Vec<String>,
    pub(crate) spec_hash: SpecHash,
    pub(crate) lock: Lock,
}

impl Plan {
    /// What is installed.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

/// Makes the plan.
///
/// # Errors
/// When a value can't stand in an image, the base is not pinned, a package's metadata is hostile, or the
/// definition asks for what kiln does not build.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, PlanError> {
    refuse_what_is_not_built(input.definition)?;
    let user_dockerfile =
        UserDockerfile::of(&input.definition.base, input.context, &input.spec_hash)?;
    let image = FromReference::of(input.base, input.lock, &input.spec_hash)?;
    let user = UserName::of_base(&input.facts.user)?;
    let mut steps = steps(input)?;
    inferencing::add(input, &mut steps)?;
    let name = format!("azureml_{}", input.spec_hash.short());
    let mut instructions = vec![Instruction::Comment(format!(
        "Environment {name}, made by kiln from its lock."
    ))];
    instructions.append(&mut steps.stages);
    instructions.push(Instruction::From { image, stage: None });
    let root = steps
        .instructions
        .iter()
        .any(|i| matches!(i, Instruction::User(_)));
    instructions.append(&mut steps.instructions);
    match &steps.prefix {
        Some(prefix) => instructions.extend(variables::of_prefix(input, prefix)),
        None => instructions.extend(variables::of_interpreter(input)?),
    }
    instructions.push(variables::mark());
    let own = variables::of_definition(input)?;
    note_replaced(&instructions, &own, &mut steps.notes);
    instructions.extend(own);
    instructions.extend(labels(input));
    if let (true, Some(user)) = (root, user) {
        instructions.push(Instruction::User(user));
    }
    instructions.extend(inferencing::command(input, steps.prefix.as_deref()));
    check_lines(&instructions)?;
    steps.context.sort_by(|a, b| a.path.cmp(&b.path));
    steps.context.dedup_by(|a, b| a.path == b.path);
    Ok(Plan {
        user_dockerfile,
        dockerfile: Dockerfile { instructions },
        context: steps.context,
        secrets: steps.secrets,
        prefix: steps.prefix,
        tool: steps.tool,
        notes: steps.notes,
        spec_hash: input.spec_hash,
        lock: input.lock.clone(),
    })
}

fn steps(input: &PlanInput<'_>) -> Result<Steps, PlanError> {
    let lock = input.lock;
    let nothing = lock.conda.is_empty() && lock.pip.is_empty() && lock.python.is_none();
    if input.definition.python.user_managed || nothing {
        return Ok(Steps::new(Tool::Nothing, None));
    }
    if input.installer == Installer::Layers {
        let mut steps = Steps::new(Tool::Layers, Some(KILN_PREFIX.to_owned()));
        steps.link(&input.spec_hash);
        return Ok(steps);
    }
    if input.installer == Installer::Micromamba {
        return plain::steps(input);
    }
    if input.facts.conda.is_none() {
        return kiln_install::steps(input);
    }
    match conda::obstacle(lock, input.facts) {
        None => conda::steps(input),
        Some(obstacle) => {
            let mut steps = kiln_install::steps(input)?;
            steps
                .notes
                .push(format!("the base's conda is not used: {obstacle}"));
            Ok(steps)
        }
    }
}

/// What would otherwise be dropped in silence.
fn refuse_what_is_not_built(definition: &Definition) -> Result<(), PlanError> {
    if definition.python.base_conda_environment.is_some() {
        return Err(PlanError::Unsupported {
            what: "an environment upon one of the base's conda environments (baseCondaEnvironment)",
            remedy: "list its packages in the conda dependencies",
        });
    }
    if definition.r.as_ref().is_some_and(|r| !r.user_managed) {
        return Err(PlanError::Unsupported {
            what: "the R section",
            remedy: "take R packages from a conda channel (r-base, r-...), or set its userManaged",
        });
    }
    Ok(())
}

/// Says which of kiln's own variables the definition replaces.
fn note_replaced(own: &[Instruction], definitions: &[Instruction], notes: &mut Vec<String>) {
    fn name(instruction: &Instruction) -> Option<&str> {
        match instruction {
            Instruction::Env { name, .. } => Some(name.as_str()),
            _ => None,
        }
    }
    for replaced in definitions.iter().filter_map(name) {
        if own.iter().filter_map(name).any(|known| known == replaced) {
            notes.push(format!("the definition's own {replaced} replaces kiln's"));
        }
    }
}

/// The labels by which an image is known again; hex digits all. Others are given to the engine.
fn labels(input: &PlanInput<'_>) -> [Instruction; 3] {
    [
        ("io.kiln.spec-hash", input.spec_hash.to_hex()),
        ("io.kiln.name", input.spec_hash.image_name()),
        ("io.kiln.lock-hash", input.lock.hash().to_hex()),
    ]
    .map(|(name, value)| Instruction::Label { name, value })
}

fn check_lines(instructions: &[Instruction]) -> Result<(), PlanError> {
    for instruction in instructions {
        let bytes = instruction.to_text().len();
        if bytes > LINE_LIMIT {
            return Err(PlanError::LineTooLong {
                what: instruction.subject(),
                bytes,
            });
        }
    }
    Ok(())
}
