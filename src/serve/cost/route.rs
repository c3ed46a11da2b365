//! Which group of clusters a statement belongs to.

use std::sync::Arc;

use super::{Refusal, Serving};
use crate::cost::answer::Predictor;

/// A group for each class of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Groups {
    target: String,
    by_class: Vec<String>,
}

impl Groups {
    /// Groups as `TARGET=GROUP,GROUP,…`, from the cheapest class.
    ///
    /// # Errors
    /// The model has no such target, or another number of classes.
    pub fn read(text: &str, model: &dyn Predictor) -> Result<Self, String> {
        let (name, groups) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} are no groups: write TARGET=GROUP,GROUP, as in cpu=small,medium,large"))?;
        let names = || model.targets().iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
        let target = model
            .targets()
            .iter()
            .find(|target| target.name == name)
            .ok_or_else(|| format!("the model has no target {name:?}: it has {}", names()))?;
        let by_class: Vec<String> = groups.split(',').map(|group| group.trim().to_owned()).collect();
        let labels = &target.labels;
        if by_class.len() != labels.len() || by_class.iter().any(String::is_empty) {
            return Err(format!("{name} has {} classes, {}: name as many groups", labels.len(), labels.join(" ")));
        }
        Ok(Self { target: name.to_owned(), by_class })
    }
}

impl Serving {
    /// The group of a statement.
    ///
    /// # Errors
    /// There are no groups, the statement can't be answered for, or the model abstains: its guess is no reason to send a
    /// statement anywhere but where unknown ones go.
    pub async fn route(self: &Arc<Self>, query: String) -> Result<String, Refusal> {
        let groups = self.groups.as_ref().ok_or_else(|| {
            Refusal::Unprocessable("no groups are configured: start with --route TARGET=GROUP,GROUP,…".into())
        })?;
        let estimate = self.estimate(query, &groups.target).await?;
        if estimate.abstains {
            return Err(Refusal::Abstains(format!(
                "the model abstains: what it knows of such statements ({}) says too little of {}",
                estimate.source.word(),
                groups.target
            )));
        }
        let group = groups.by_class.get(estimate.class);
        group
            .cloned()
            .ok_or_else(|| Refusal::Failed(format!("class {} of {} has no group", estimate.class, groups.target)))
    }
}
