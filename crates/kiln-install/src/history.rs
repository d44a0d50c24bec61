//! `conda-meta/history`: by this file conda tells that a folder is an environment.

use kiln_lock::CondaPackage;

/// The history of an environment that was made at once. Its date is constant: an image has nothing
/// from the clock.
pub fn text(packages: &[CondaPackage]) -> String {
    let mut lines: Vec<String> = packages
        .iter()
        .map(|package| {
            let channel = channel_name(&package.channel, &package.subdir);
            let CondaPackage {
                name,
                version,
                build,
                subdir,
                ..
            } = package;
            format!("+{channel}/{subdir}::{name}-{version}-{build}\n")
        })
        .collect();
    lines.sort();
    format!(
        "==> 1980-01-01 00:00:00 <==\n# cmd: kiln-install\n{}",
        lines.concat()
    )
}

/// The last part of a channel's address, which conda shows.
fn channel_name<'a>(channel: &'a str, subdir: &str) -> &'a str {
    let channel = channel.trim_end_matches('/');
    let channel = channel
        .strip_suffix(subdir)
        .map_or(channel, |c| c.trim_end_matches('/'));
    channel.rsplit_once('/').map_or(channel, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_told_by_its_last_part() {
        assert_eq!(
            channel_name("https://c.example/x/conda-forge/", "linux-64"),
            "conda-forge"
        );
        assert_eq!(
            channel_name("https://c.example/conda-forge/linux-64", "linux-64"),
            "conda-forge"
        );
        assert_eq!(channel_name("conda-forge", "noarch"), "conda-forge");
    }
}
