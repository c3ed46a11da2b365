//! A model's answer in words.

use super::{CostModel, Judgement, Seen};
use crate::cost::answer::{
    Answer, Detail, Estimate, Neighbour, Novelty, Predictor, Push, Quantiles, Source, TargetInfo,
};
use crate::cost::sqltext::features::Text;
use crate::cost::sqltext::fingerprint::{Fingerprint, digest};
use crate::learn::boost::Explainer;

impl CostModel {
    /// What a statement will cost, with PostgreSQL's own estimate (total cost, rows) where it was asked for.
    pub fn answer(&self, query: &str, plan: Option<(f32, f32)>, targets: &[usize], detail: Detail) -> Answer {
        self.see(query, plan, |text, seen| {
            let all: Vec<usize> = (0..self.targets.len()).collect();
            let asked = if targets.is_empty() { all.as_slice() } else { targets };
            let known = asked.iter().filter_map(|place| Some((*place, self.targets.get(*place)?)));
            let estimates = known.map(|(place, target)| {
                let judged = target.judge(seen, &self.vocabulary.names);
                let tokens = self.pushes(place, &judged, seen.row, detail.tokens);
                let label = target.info.labels[judged.class].clone();
                let Judgement { class, probabilities, p50, p90, source, abstains, .. } = judged;
                Estimate {
                    target: target.info.name.clone(),
                    class,
                    label,
                    probabilities,
                    p50,
                    p90,
                    source,
                    abstains,
                    tokens,
                }
            });
            let targets = estimates.collect();
            let nearest = if detail.nearest == 0 { Vec::new() } else { self.nearest(&text.normalised, detail.nearest) };
            Answer {
                fingerprint: text.fingerprint.to_string(),
                novelty: seen.novelty,
                targets,
                nearest,
                model_version: self.version.clone(),
            }
        })
    }

    /// What a statement will cost, as numbers: how new it is, and a judgement for every target.
    pub fn judge(&self, query: &str, plan: Option<(f32, f32)>) -> (Novelty, Vec<Judgement>) {
        self.see(query, plan, |_, seen| {
            let judged = self.targets.iter().map(|target| target.judge(seen, &self.vocabulary.names));
            (seen.novelty, judged.collect())
        })
    }

    /// Reads a statement as the model sees it.
    fn see<T>(&self, query: &str, plan: Option<(f32, f32)>, then: impl FnOnce(&Text<'_>, &Seen<'_>) -> T) -> T {
        let text = Text::read(query);
        let row = self.vocabulary.row(&text);
        let novelty = self.vocabulary.novelty(&text, self.known.contains_key(&text.fingerprint.0));
        let seen = Seen { digest: digest(query), fingerprint: text.fingerprint.0, row: &row, novelty, plan };
        then(&text, &seen)
    }

    /// The tokens that pushed a text's estimate, strongest first (TreeSHAP).
    fn pushes(&self, place: usize, judged: &Judgement, row: &[(u32, f32)], most: usize) -> Vec<Push> {
        if most == 0 || !matches!(judged.source, Source::Text | Source::Plan) {
            return Vec::new();
        }
        let explainer = self.explainers[place].get_or_init(|| Explainer::read(&self.targets[place].classes.json));
        let told = explainer.as_ref().map_err(Clone::clone);
        let told = match told.and_then(|explainer| explainer.contributions(row, self.vocabulary.names.len())) {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(%error, target = self.infos[place].name, "the estimate can't be explained");
                return Vec::new();
            }
        };
        let Some(own) = told.get(judged.class) else { return Vec::new() };
        let mut pushes: Vec<(u32, f32)> =
            row.iter().map(|(column, _)| (*column, own[*column as usize])).filter(|(_, w)| *w != 0.0).collect();
        pushes.sort_unstable_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let shown = pushes.into_iter().take(most);
        shown
            .map(|(column, weight)| Push {
                token: self.vocabulary.names[column as usize].clone(),
                weight: f64::from(weight),
            })
            .collect()
    }

    fn nearest(&self, normalised: &str, most: usize) -> Vec<Neighbour> {
        let found = self.nearest.to(normalised, most).into_iter();
        let known = found
            .filter_map(|(fingerprint, similarity)| Some((fingerprint, similarity, self.known.get(&fingerprint)?)));
        known
            .map(|(fingerprint, similarity, known)| {
                let costs = self.targets.iter().filter_map(|target| {
                    let record = target.history.fingerprints.get(&fingerprint)?;
                    Some(Quantiles {
                        target: target.info.name.clone(),
                        p50: record.quantile(0.5),
                        p90: record.quantile(0.9),
                    })
                });
                Neighbour {
                    fingerprint: Fingerprint(fingerprint).to_string(),
                    statement: known.statement.clone(),
                    similarity,
                    count: known.count,
                    costs: costs.collect(),
                }
            })
            .collect()
    }
}

impl Predictor for CostModel {
    fn version(&self) -> &str {
        &self.version
    }

    fn targets(&self) -> &[TargetInfo] {
        &self.infos
    }

    fn predict(&self, queries: &[&str], targets: &[usize], detail: Detail) -> Vec<Answer> {
        queries.iter().map(|query| self.answer(query, None, targets, detail)).collect()
    }

    fn wants_plan(&self, query: &str, targets: &[usize]) -> bool {
        let asked = |target: &usize| targets.is_empty() || targets.contains(target);
        let planned: Vec<usize> =
            (0..self.targets.len()).filter(asked).filter(|target| self.targets[*target].plan.is_some()).collect();
        !planned.is_empty()
            && self.see(query, None, |_, seen| {
                planned.iter().any(|target| self.targets[*target].wants_plan(seen, &self.vocabulary.names))
            })
    }

    fn predict_planned(&self, query: &str, plan: (f32, f32), targets: &[usize], detail: Detail) -> Answer {
        self.answer(query, Some(plan), targets, detail)
    }
}
