//! Every file in `charts/examples` is accepted by the API server as it is; every one in `charts/examples/broken` is
//! refused, in words that name the field that its first line says: `# Refused: spec.partitions`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Env;

pub(super) fn tell(env: &Env<'_>) -> Result<()> {
    let folder = env.cluster.repository.join("charts/examples");
    let good = manifests(&folder)?;
    ensure!(!good.is_empty(), "there are no examples in {}", folder.display());
    for file in good {
        let path = file.display().to_string();
        // Strict: a misspelt field is an error, not a warning. The example's own namespace may not exist here.
        env.kubectl
            .run_with_input(
                &["apply", "--dry-run=server", "--validate=strict", "-f", "-"],
                &fs::read_to_string(&file)?,
            )
            .with_context(|| format!("{path} is not accepted"))?;
    }
    let broken = manifests(&folder.join("broken"))?;
    ensure!(!broken.is_empty(), "there are no broken examples");
    for file in broken {
        let text = fs::read_to_string(&file)?;
        let field = text
            .lines()
            .find_map(|line| line.strip_prefix("# Refused: "))
            .with_context(|| format!("{} does not say '# Refused: <field>'", file.display()))?
            .trim();
        let words = env
            .kubectl
            .refused(&text)
            .with_context(|| file.display().to_string())?;
        ensure!(
            words.contains(field),
            "{}: the refusal does not name {field}: {words}",
            file.display()
        );
    }
    Ok(())
}

fn manifests(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    Ok(files)
}
