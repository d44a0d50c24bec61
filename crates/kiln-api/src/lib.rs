//! Request and response types of kiln's native HTTP API.

mod build;
mod contexts;
mod environments;
mod explain;
mod failure;
mod gc;
mod hooks;
mod log;
mod models;
mod runs;
mod wheels;

pub use build::{BackendChoice, BuildList, BuildRequest, BuildState, BuildStatus, Defaults};
pub use contexts::ContextInfo;
pub use environments::{
    AddPackagesRequest, ArchiveRequest, CloneRequest, Environment, EnvironmentDiff, EnvironmentId,
    EnvironmentList, HistoryEntry, HistoryList, LabelRequest, LayerChange, PackageChange,
    RegisterRequest, ReproduceRequest, Reproduction, ReproductionSide, RollbackRequest, SizeChange,
    ValueChange,
};
pub use explain::{Comparison, ExplainRequest, Explanation, RefreshChange, Verdict};
pub use failure::{Failure, FailureClass};
pub use gc::{GcArchive, GcReport, GcRequest, GcShare};
pub use hooks::{
    Hook, HookList, HookSecret, NewHookRequest, RegistryReport, ReplayReport, ReplayRequest,
};
pub use log::{LogEvent, LogKind};
pub use models::{Model, ModelFileInfo, ModelList};
pub use runs::{
    ChangeRunRequest, NewRunRequest, Run, RunFailure, RunFileInfo, RunFileList, RunList,
};
pub use wheels::{WheelInfo, WheelList};
