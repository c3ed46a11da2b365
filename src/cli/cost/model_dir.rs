//! A model as a directory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::cost::model::{CostModel, Files, MANIFEST};

/// Writes a model, whole or not at all, in place of one that was there.
///
/// # Errors
/// The directory holds something else, or can't be written.
pub fn write(directory: &Path, model: &CostModel) -> Result<()> {
    check(directory)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("{} can't be made", parent.display()))?;
    let new = tempfile::Builder::new()
        .prefix(".howdah-model-")
        .tempdir_in(parent)
        .with_context(|| format!("{} can't be written", parent.display()))?;
    for (name, bytes) in model.save() {
        fs::write(new.path().join(&name), bytes).with_context(|| format!("{name} can't be written"))?;
    }
    // Others may read it, as they may files that are made plainly.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))
        .context("the model's directory can't be opened to others")?;
    let old =
        directory.exists().then(|| tempfile::Builder::new().prefix(".howdah-old-").tempdir_in(parent)).transpose()?;
    if let Some(old) = &old {
        fs::rename(directory, old.path().join("model"))
            .with_context(|| format!("{} can't be replaced", directory.display()))?;
    }
    let new = new.keep();
    fs::rename(&new, directory).with_context(|| format!("{} can't be written", directory.display()))
}

/// Whether a model may be written there.
///
/// # Errors
/// It holds something that is no model.
pub fn check(directory: &Path) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    let empty =
        fs::read_dir(directory).with_context(|| format!("{} is no directory", directory.display()))?.next().is_none();
    if !empty && !directory.join(MANIFEST).is_file() {
        bail!("{} holds something else than a model; name an empty directory or a new one", directory.display());
    }
    Ok(())
}

/// Reads a model.
///
/// # Errors
/// It is none, corrupted or newer.
pub fn read(directory: &Path) -> Result<CostModel> {
    let mut files = Files::new();
    let entries = fs::read_dir(directory).with_context(|| format!("{} can't be read", directory.display()))?;
    for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
        let bytes = fs::read(entry.path()).with_context(|| format!("{} can't be read", entry.path().display()))?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), bytes);
    }
    CostModel::load(&files).with_context(|| directory.display().to_string())
}
