//! Each bad input has its own reason and a sentence; none raises an alarm, and none is written twice.

use proptest::prelude::*;

use super::*;

/// What spoils a healthy detector; the condition, the reason and the words that must tell of it.
type Spoiled = (fn(&mut Facts), &'static str, Reason, &'static str);

fn blind(facts: &mut Facts, reason: Reason, message: &str) {
    facts.data = Err(Trouble::new(reason, message));
    facts.scoring = Some(Err(Trouble::new(reason, message)));
}

const SPOILED: &[Spoiled] = &[
    (|f| blind(f, Reason::PrometheusUnreachable, "refused"), "DataAvailable", Reason::PrometheusUnreachable, "refused"),
    (|f| blind(f, Reason::PrometheusUnauthorized, "401"), "Scoring", Reason::PrometheusUnauthorized, "401"),
    (|f| blind(f, Reason::QueryRejected, "parse error"), "DataAvailable", Reason::QueryRejected, "parse error"),
    (|f| blind(f, Reason::DuplicateSeries, "two series"), "Ready", Reason::DuplicateSeries, "two series"),
    (|f| blind(f, Reason::SecretMissing, "no Secret"), "Ready", Reason::SecretMissing, "no Secret"),
    (|f| f.data.as_mut().unwrap().found.clear(), "DataAvailable", Reason::NoSeries, "{instance=\"shop\"}"),
    (
        |f| f.scoring = Some(Err(Trouble::new(Reason::ModelStoreUnavailable, "no space left"))),
        "Scoring",
        Reason::ModelStoreUnavailable,
        "no space left",
    ),
    (
        |f| {
            let Some(Ok(scoring)) = &mut f.scoring else { return };
            (scoring.skipped, scoring.stale) = (Some("DataIncomplete".into()), vec!["blks_hit".into()]);
        },
        "Scoring",
        Reason::DataIncomplete,
        "blks_hit",
    ),
    (
        |f| f.detector.spec.training.schedule = Some("0 25 * * *".into()),
        "Ready",
        Reason::InvalidSpecification,
        "training.schedule",
    ),
    (
        |f| f.detector.spec.features.exclude = vec!["nope".into()],
        "Ready",
        Reason::InvalidSpecification,
        "features.exclude",
    ),
    (
        |f| f.detector.spec.detection.false_alarms_per_week = Decimal(0.0),
        "Ready",
        Reason::InvalidSpecification,
        "falseAlarmsPerWeek",
    ),
    (
        |f| f.detector.spec.training.window = "6h".into(),
        "Ready",
        Reason::InvalidSpecification,
        "training.window is 6 h and training.minHistory 24 h",
    ),
    (
        |f| f.detector.spec.training.min_history = "999999999999999d".into(),
        "Ready",
        Reason::InvalidSpecification,
        "training.minHistory",
    ),
    (|f| f.unseen = Some(Trouble::new(Reason::StepFailed, "forbidden")), "Ready", Reason::StepFailed, "forbidden"),
];

#[test]
fn each_bad_input_has_its_own_reason_and_raises_no_alarm() {
    for (spoil, kind, reason, words) in SPOILED {
        let mut facts = healthy(json!({}));
        assert_eq!(condition(&facts, "Ready"), "True Scoring");
        spoil(&mut facts);
        look(&mut facts);
        assert_eq!(condition(&facts, kind), format!("False {reason}"));
        assert!(message(&facts, kind).contains(words), "{reason}: {}", message(&facts, kind));
        assert!(condition(&facts, "Ready").starts_with("False "), "{reason}");
        assert!(condition(&facts, "Anomalous").starts_with("False "), "{reason}");
        assert!(facts.status().incidents.is_empty());
    }
}

#[test]
fn nothing_is_called_normal_and_no_score_stays_while_nothing_is_scored() {
    type Spoil = fn(&mut Facts);
    let unseen: Spoil = |facts| blind(facts, Reason::PrometheusUnreachable, "refused");
    let skipped: Spoil = |facts| {
        let Some(Ok(scoring)) = &mut facts.scoring else { panic!("nothing scores") };
        scoring.skipped = Some("WarmUp".into());
    };
    let wrong: Spoil = |facts| facts.detector.spec.features.exclude = vec!["no_such_feature".into()];
    for (spoil, told) in [
        (unseen, "False PrometheusUnreachable"),
        (skipped, "False DataIncomplete"),
        (wrong, "False InvalidSpecification"),
    ] {
        let mut facts = healthy(json!({}));
        assert_eq!((condition(&facts, "Anomalous").as_str(), facts.status().score.is_some()), ("False Normal", true));
        spoil(&mut facts);
        look(&mut facts);
        assert_eq!((condition(&facts, "Anomalous").as_str(), facts.status().score), (told, None));
        assert_eq!(facts.status().state, Some(State::Blind));
    }
}

/// What is wrong with trainings to come hides nothing of what comes now.
#[test]
fn a_schedule_that_is_wrong_stops_trainings_and_not_the_scores() {
    let mut facts = healthy(json!({"training": {"schedule": "0 25 * * *"}}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    let (decision, _) = look(&mut facts);
    assert!(decision.steps.is_empty());
    assert_eq!(condition(&facts, "Ready"), "False InvalidSpecification");
    assert!(message(&facts, "Ready").contains("0 25 * * *"));
    assert_eq!(condition(&facts, "Anomalous"), "True AnomalyDetected");
    assert_eq!((condition(&facts, "Scoring").as_str(), facts.status().incidents.len()), ("True Scoring", 1));
}

#[test]
fn rows_are_no_closer_together_than_scrapes() {
    let mut facts = untrained(json!({"step": "15s"}));
    facts.data.as_mut().unwrap().scraped_ms = Some(30_000);
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "False InvalidSpecification");
    let told = message(&facts, "Ready");
    assert!(told.contains("scrapes every 30 s") && told.contains("set step to 30s"), "{told}");
    assert_eq!(facts.status().training, None);
    // A model that is at work goes on, and it is told.
    let mut facts = healthy(json!({"step": "15s"}));
    facts.data.as_mut().unwrap().scraped_ms = Some(60_000);
    look(&mut facts);
    assert_eq!(condition(&facts, "Ready"), "True Scoring");
    assert!(message(&facts, "DataAvailable").contains("set step to 60s"));
    facts.data.as_mut().unwrap().scraped_ms = Some(15_400);
    look(&mut facts);
    assert!(!message(&facts, "DataAvailable").contains("set step"));
}

#[test]
fn an_open_incident_stays_open_while_nothing_is_seen() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    blind(&mut facts, Reason::PrometheusUnreachable, "refused");
    let (_, report) = look(&mut facts);
    assert_eq!(condition(&facts, "Anomalous"), "True AnomalyDetected");
    assert!(report.events.is_empty());
}

#[test]
fn what_is_missing_and_not_finite_and_a_skewed_clock_are_told() {
    let mut facts = healthy(json!({}));
    let data = facts.data.as_mut().unwrap();
    (data.not_finite, data.server_ms) = (3, NOON - 95_000);
    look(&mut facts);
    let told = message(&facts, "DataAvailable");
    for words in ["2 features", "1 have none", "NaN", "2 min behind"] {
        assert!(told.contains(words), "{told}");
    }
    assert_eq!(condition(&facts, "DataAvailable"), "True DataAvailable");
    let features = facts.status().features.unwrap();
    assert_eq!(
        (features.found, features.missing, features.constant),
        (2, vec!["seq_scan".to_owned()], vec!["shared_buffers".to_owned()])
    );
}

#[test]
fn a_suspended_detector_closes_what_is_open_and_looks_at_nothing() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    facts.detector.spec.suspend = true;
    look(&mut facts);
    let status = facts.status();
    assert!(status.incidents[0].until.is_some());
    assert_eq!((status.state, condition(&facts, "Anomalous").as_str()), (Some(State::Suspended), "False Suspended"));
    let (decision, _) = look(&mut facts);
    assert_eq!((decision.steps, decision.next), (vec![], IDLE));
}

#[test]
fn a_deleted_detector_leaves_nothing_behind() {
    let mut facts = healthy(json!({}));
    facts.detector.metadata.deletion_timestamp = Some(facts.now.clone());
    let decision = decide(&facts);
    assert_eq!(decision.steps, [Step::Release]);
    let failed = report(&facts, &decision, &Outcome { failed: vec![(0, Trouble::new(Reason::StepFailed, "no"))] });
    assert!(failed.backoff && failed.status.is_some());
    let (_, report) = look(&mut facts);
    assert_eq!(report.status, None);
    assert_eq!(decide(&facts).steps, []);
}

#[test]
fn the_score_of_the_status_moves_in_steps() {
    let mut facts = healthy(json!({}));
    let told = |facts: &mut Facts, score: f64| {
        let Some(Ok(scoring)) = &mut facts.scoring else { panic!() };
        scoring.score = Some(score);
        look(facts);
        facts.status().score.unwrap().0
    };
    assert_eq!(told(&mut facts, 0.55), 0.4);
    assert_eq!(told(&mut facts, 0.98), 0.9);
    // The threshold is never hidden by rounding.
    assert_eq!(told(&mut facts, 1.01), 1.0);
    assert_eq!(told(&mut facts, 1.2), 1.0);
    assert_eq!(told(&mut facts, 4.24), 4.2);
    assert_eq!(told(&mut facts, 5.0), 4.2);
}

proptest! {
    /// The fixed point: once the steps have succeeded, nothing is left to do and nothing to write, whatever the facts
    /// are; and recorded facts give the same decision.
    #[test]
    fn deciding_again_changes_nothing(
        spoils in proptest::collection::vec(0..SPOILED.len(), 0..3),
        trained in any::<bool>(),
        anomalous in any::<bool>(),
        alerting in any::<bool>(),
        suspended in any::<bool>(),
        later in 0i64..900,
    ) {
        let mut spec = json!({"suspend": suspended});
        if alerting {
            spec["mode"] = json!("Alert");
            spec["notify"] = json!({"webhook": {"url": "http://hook"}, "alertmanager": {"url": "http://am"}});
        }
        let mut facts = if trained { healthy(spec) } else { untrained(spec) };
        if trained && anomalous {
            sees(&mut facts, vec![incident(NOON, 4.2)]);
        }
        for spoil in spoils {
            // What one spoiled another can't spoil further.
            if facts.data.is_ok() {
                SPOILED[spoil].0(&mut facts);
            }
        }
        for _ in 0..6 {
            look(&mut facts);
        }
        pass(&mut facts, later);
        let before = facts.detector.status.clone();
        let (decision, report) = look(&mut facts);
        prop_assert_eq!(&decision.steps, &vec![]);
        prop_assert!(report.events.is_empty(), "{:?}", report.events);
        prop_assert_eq!(&before, &facts.detector.status);
        let replayed: Facts = serde_json::from_value(serde_json::to_value(&facts).unwrap()).unwrap();
        prop_assert_eq!(decide(&replayed), decide(&facts));
    }
}
