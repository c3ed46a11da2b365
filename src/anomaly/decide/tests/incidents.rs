//! Incidents: told once, kept over restarts, labelled, and sent to who listens.

use super::*;
use crate::anomaly::crd::DeliveryState;
use crate::anomaly::facts::Refusal;
use crate::anomaly::incident::ChangeEvent;
use crate::anomaly::watch::Departure;
use crate::anomaly::{CAUSE_ANNOTATION, NORMAL};

/// An alert ends by itself unless it is repeated, and a detector without a model does not ask for its history all the time.
#[test]
fn looks_are_as_often_as_an_alert_wants_and_as_seldom_as_a_missing_model_allows() {
    let mut detector = alerting();
    detector["step"] = json!("10m");
    let mut facts = healthy(detector);
    facts.data.as_mut().unwrap().server_ms += 10_000;
    let quiet = decide(&facts).next;
    assert!(quiet.as_secs() > 60, "{quiet:?}");
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    assert!(decide(&facts).next.as_secs() <= 60);
    let mut facts = healthy(json!({"step": "1s"}));
    for (reason, least) in [(Reason::ModelStoreUnavailable, 60), (Reason::CatchingUp, 1)] {
        facts.scoring = Some(Err(Trouble::new(reason, "")));
        assert_eq!(decide(&facts).next.as_secs(), least, "{reason:?}");
    }
}

fn alerting() -> Value {
    json!({"mode": "Alert", "notify": {"webhook": {"url": "http://hook"}, "alertmanager": {"url": "http://am:9093"}}})
}

fn notices(decision: &Decision) -> Vec<(Receiver, DeliveryState)> {
    let notice = |step: &Step| match step {
        Step::Notify(notice) => Some((notice.receiver, notice.state)),
        _ => None,
    };
    decision.steps.iter().filter_map(notice).collect()
}

fn change(what: &str) -> ChangeEvent {
    ChangeEvent { time: NOON, what: what.into() }
}

fn ended(mut incident: Incident, until: i64) -> Incident {
    incident.until = Some(until);
    incident
}

#[test]
fn an_incident_is_told_once_when_it_begins_and_once_when_it_ends() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    let (_, report) = look(&mut facts);
    assert_eq!(report.events.len(), 1);
    let (reason, text, warning) = &report.events[0];
    assert_eq!((*reason, *warning), ("AnomalyDetected", true));
    for words in ["4.2× threshold", "seq_tup_read 1.2k/s → 480k/s", "missing index (0.87)"] {
        assert!(text.contains(words), "{text}");
    }
    let status = facts.status();
    assert_eq!(condition(&facts, "Anomalous"), "True AnomalyDetected");
    assert_eq!((status.top_metric.as_deref(), status.cause.as_deref()), (Some("seq_tup_read"), Some("missing index")));
    assert_eq!((status.state, status.since), (Some(State::Anomalous), Some(time(NOON))));

    // A little stronger, a little later: nothing worth writing.
    pass(&mut facts, 30_000);
    sees(&mut facts, vec![incident(NOON, 4.6)]);
    let before = facts.detector.status.clone();
    let (_, report) = look(&mut facts);
    assert_eq!((report.events.len(), &facts.detector.status), (0, &before));
    // Much stronger is told in the status, and is no further Event.
    sees(&mut facts, vec![incident(NOON, 9.0)]);
    let (_, report) = look(&mut facts);
    assert_eq!((report.events.len(), facts.status().incidents[0].peak.0), (0, 9.0));

    sees(&mut facts, vec![ended(incident(NOON, 9.0), NOON + 60_000)]);
    let (_, report) = look(&mut facts);
    assert_eq!(report.events[0].0, "AnomalyResolved");
    assert_eq!((condition(&facts, "Anomalous").as_str(), facts.status().since), ("False Normal", None));
    let (_, report) = look(&mut facts);
    assert!(report.events.is_empty());
}

/// Hours later "(30 s)" would be a lie; a status that is written with every row would be a load.
#[test]
fn what_is_said_of_an_incident_that_goes_on_does_not_grow_old() {
    let mut facts = healthy(json!({}));
    let mut said = Vec::new();
    for minute in 0..=200 {
        sees(&mut facts, vec![incident(NOON, 4.2)]);
        let now = facts.now_ms();
        facts.scoring.as_mut().unwrap().as_mut().unwrap().time = now;
        look(&mut facts);
        let known = facts.status().incidents[0].clone();
        assert_eq!(message(&facts, "Anomalous"), known.message);
        if said.last() != Some(&known.message) {
            said.push(known.message);
        }
        let as_of = known.as_of.unwrap().0.as_millisecond() - NOON;
        assert!(minute < 2 || 2 * as_of > minute * 60_000, "as of {as_of} ms in minute {minute}");
        pass(&mut facts, 60_000);
    }
    assert!(said.len() <= 10, "{said:#?}");
    assert!(said.last().unwrap().contains("(2 h)"), "{said:#?}");
}

#[test]
fn when_an_incident_went_on_is_known() {
    let mut facts = healthy(json!({}));
    for (ago, until) in [(0, None), (60, Some(NOON + 60_000)), (60, None)] {
        pass(&mut facts, ago * 1000);
        let seen = incident(NOON, 4.2);
        sees(&mut facts, vec![until.map_or(seen.clone(), |until| ended(seen, until))]);
        look(&mut facts);
    }
    let known = &facts.status().incidents[0];
    let went_on = facts.scored().unwrap().time;
    assert_eq!(
        (known.since.clone(), known.until.clone(), known.reopened.clone()),
        (time(NOON), None, Some(time(went_on)))
    );
}

#[test]
fn a_restart_or_a_pause_raises_nothing_twice() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    // After a restart the rows reach back only so far, and the same incident seems to begin later.
    sees(&mut facts, vec![incident(NOON + 90_000, 4.2)]);
    let (_, report) = look(&mut facts);
    assert!(report.events.is_empty());
    assert_eq!((facts.status().incidents.len(), facts.status().incidents[0].since.clone()), (1, time(NOON)));
    // It ended, and another came and went, while nobody looked.
    let gone = vec![ended(incident(NOON, 4.2), NOON + 120_000), ended(incident(NOON + 900_000, 2.0), NOON + 960_000)];
    pass(&mut facts, 1_200_000);
    sees(&mut facts, gone.clone());
    let (_, report) = look(&mut facts);
    let told: Vec<&str> = report.events.iter().map(|(reason, _, _)| *reason).collect();
    assert_eq!(told, ["AnomalyResolved", "AnomalyResolved"]);
    // And once more, replayed.
    sees(&mut facts, gone);
    let (_, report) = look(&mut facts);
    assert!(report.events.is_empty());
    assert_eq!(facts.status().incidents.len(), 2);
}

#[test]
fn a_replayed_incident_is_the_one_that_it_overlaps() {
    let mut facts = healthy(json!({}));
    let mut first = ended(incident(NOON, 4.2), NOON + 300_000);
    first.changes = vec![change("work_mem 4MB → 8MB")];
    pass(&mut facts, 600_000);
    sees(&mut facts, vec![first]);
    look(&mut facts);
    let known = facts.status().incidents[0].clone();
    assert!(known.raised.0 <= known.until.as_ref().unwrap().0, "{known:?}");
    // Read again, it begins later, ends elsewhere, and coincides with what was seen since.
    let mut again = ended(incident(NOON + 90_000, 9.0), NOON + 315_000);
    again.changes = vec![change("PostgreSQL restarted")];
    sees(&mut facts, vec![again]);
    let (_, report) = look(&mut facts);
    assert!(report.events.is_empty(), "{:?}", report.events);
    let [same] = &facts.status().incidents[..] else { panic!("{:?}", facts.status().incidents) };
    assert_eq!((&same.id, &same.since, same.peak.0), (&known.id, &known.since, 9.0));
    assert_eq!(same.coincidences, ["work_mem 4MB → 8MB", "PostgreSQL restarted"]);
    assert!(same.message.contains("Coincides: work_mem 4MB → 8MB; PostgreSQL restarted."), "{}", same.message);
    // What begins after its end is another.
    sees(&mut facts, vec![ended(incident(NOON + 330_000, 2.0), NOON + 400_000)]);
    look(&mut facts);
    assert_eq!(facts.status().incidents.len(), 2);
}

#[test]
fn an_incident_stays_open_as_long_as_no_row_was_judged() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    sees(&mut facts, vec![]);
    let Some(Ok(scoring)) = &mut facts.scoring else { panic!() };
    (scoring.score, scoring.skipped) = (None, Some("DataIncomplete".into()));
    let (_, report) = look(&mut facts);
    assert_eq!((report.events.len(), condition(&facts, "Anomalous").as_str()), (0, "True AnomalyDetected"));
}

#[test]
fn an_incident_that_the_rows_no_longer_show_is_closed() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    sees(&mut facts, vec![]);
    let (_, report) = look(&mut facts);
    assert_eq!(report.events[0].0, "AnomalyResolved");
    assert_eq!(condition(&facts, "Anomalous"), "False Normal");
}

#[test]
fn a_shifted_baseline_is_told_once() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    look(&mut facts);
    pass(&mut facts, alarm::SHIFTED_AFTER_MS);
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    let (_, report) = look(&mut facts);
    assert_eq!(
        (report.events[0].0, condition(&facts, "Anomalous").as_str()),
        ("BaselineShifted", "True BaselineShifted")
    );
    assert!(look(&mut facts).1.events.is_empty());
    // Nor is it told again after a look that saw nothing.
    let scoring = facts.scoring.replace(Err(Trouble::new(Reason::PrometheusUnreachable, "down")));
    assert!(look(&mut facts).1.events.is_empty());
    facts.scoring = scoring;
    assert!(look(&mut facts).1.events.is_empty());
    assert_eq!(condition(&facts, "Anomalous"), "True BaselineShifted");
}

/// A scrape that failed leaves a row without values, and one whose counters have no rate.
#[test]
fn a_row_or_two_without_values_are_told_to_nobody() {
    let mut facts = healthy(json!({}));
    let judged = facts.scored().unwrap().time;
    let lapse = |facts: &mut Facts, ms: i64| {
        let Some(Ok(scoring)) = &mut facts.scoring else { panic!() };
        (scoring.skipped, scoring.judged_ms) = (Some("DataIncomplete".into()), Some(judged));
        (scoring.score, scoring.time) = (Some(0.4), judged + ms);
        look(facts);
        (condition(facts, "Ready"), facts.status().state)
    };
    assert_eq!(lapse(&mut facts, 30_000), ("True Scoring".to_owned(), Some(State::Normal)));
    assert_eq!(lapse(&mut facts, 150_000), ("False DataIncomplete".to_owned(), Some(State::Blind)));
    assert!(message(&facts, "Scoring").contains("counters have no rate"), "{}", message(&facts, "Scoring"));
}

/// A session's trials are deleted when another begins; their load is no more normal for that.
#[test]
fn when_trials_ran_is_known_for_as_long_as_a_training_may_read_it() {
    let mut facts = healthy(json!({}));
    let minute = |minute: i64| NOON - 3_600_000 + minute * 60_000;
    let times = |facts: &Facts| -> Vec<(i64, i64)> {
        let ms = |time: &Time| time.0.as_millisecond();
        facts.status().past_trials.iter().map(|past| (ms(&past.from), ms(&past.to))).collect()
    };
    facts.trials = vec![(minute(2), minute(4)), (minute(0), minute(2)), (minute(30), minute(31))];
    look(&mut facts);
    assert_eq!(times(&facts), [(minute(30), minute(31)), (minute(0), minute(4))]);
    // The first session's are gone, and the second's go on.
    facts.trials = vec![(minute(30), minute(31)), (minute(31), minute(33))];
    look(&mut facts);
    assert_eq!(times(&facts), [(minute(30), minute(33)), (minute(0), minute(4))]);
    facts.trials = Vec::new();
    pass(&mut facts, 14 * 86_400_000);
    look(&mut facts);
    assert_eq!(times(&facts), []);
}

#[test]
fn only_the_last_incidents_are_kept() {
    let mut facts = healthy(json!({}));
    for index in 0..30 {
        let since = NOON + index * 3_600_000;
        sees(&mut facts, vec![ended(incident(since, 2.0), since + 60_000)]);
        look(&mut facts);
    }
    let incidents = facts.status().incidents;
    assert_eq!((incidents.len(), incidents[0].since.clone()), (10, time(NOON + 29 * 3_600_000)));
    // The times of the others are left out of trainings for as long as these read them.
    let past = facts.status().past_incidents;
    assert_eq!((past.len(), past[0].from.clone()), (20, time(NOON + 19 * 3_600_000)));
    pass(&mut facts, 14 * 86_400_000 + 10 * 3_600_000);
    look(&mut facts);
    assert_eq!(facts.status().past_incidents.len(), 10);
}

#[test]
fn receivers_hear_of_the_begin_and_the_end_and_an_alertmanager_in_between() {
    use DeliveryState::{Firing, Resolved};
    use Receiver::{Alertmanager, Webhook};
    let mut facts = healthy(alerting());
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    let (decision, _) = look(&mut facts);
    assert_eq!(notices(&decision), [(Alertmanager, Firing), (Webhook, Firing)]);
    let labels = |decision: &Decision| match &decision.steps[0] {
        Step::Notify(notice) => notice.body[0]["labels"].clone(),
        _ => panic!("no notice"),
    };
    let fingerprint = labels(&decision);
    assert_eq!(fingerprint["alertname"], "HowdahAnomaly");
    assert_eq!(notices(&look(&mut facts).0), []);
    pass(&mut facts, 60_000);
    let (again, _) = look(&mut facts);
    assert_eq!(notices(&again), [(Alertmanager, Firing)]);
    assert_eq!(labels(&again), fingerprint);

    sees(&mut facts, vec![ended(incident(NOON, 4.2), NOON + 90_000)]);
    // A webhook that is down is told again until it takes the end.
    let (_, report) = looked(&mut facts, &[|step| matches!(step, Step::Notify(notice) if notice.receiver == Webhook)]);
    assert_eq!(condition(&facts, "Ready"), "False NotDelivered");
    assert!(report.events.iter().any(|(reason, _, _)| *reason == "AnomalyResolved"));
    let (rest, _) = look(&mut facts);
    assert_eq!(notices(&rest), [(Webhook, Resolved)]);
    let (nothing, _) = look(&mut facts);
    assert_eq!((notices(&nothing), condition(&facts, "Ready").as_str()), (vec![], "True Scoring"));
}

#[test]
fn a_receiver_that_is_down_is_left_alone_for_a_while() {
    let mut facts = healthy(alerting());
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    looked(&mut facts, &[|step| matches!(step, Step::Notify(notice) if notice.receiver == Receiver::Webhook)]);
    let again = time(NOON + 30_000);
    facts.refused = vec![Refusal { receiver: Receiver::Webhook, message: "webhook was not told".into(), again }];
    let (decision, _) = look(&mut facts);
    assert_eq!((notices(&decision), condition(&facts, "Ready").as_str()), (vec![], "False NotDelivered"));
    assert_eq!(message(&facts, "Ready"), "webhook was not told");
    pass(&mut facts, 30_000);
    let (decision, _) = look(&mut facts);
    assert_eq!(notices(&decision), [(Receiver::Webhook, DeliveryState::Firing)]);
    assert_eq!(condition(&facts, "Ready"), "True Scoring");
    let waits: Vec<i64> = [1, 2, 5, 6, 99].map(|times| retry_after(times) / 1000).into();
    assert_eq!(waits, [15, 30, 60, 60, 60]);
}

#[test]
fn who_was_told_hears_of_the_end_when_nobody_is_to_be_told_any_more() {
    let mut facts = healthy(alerting());
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    assert_eq!(notices(&look(&mut facts).0).len(), 2);
    facts.detector.spec.mode = crate::anomaly::crd::Mode::Observe;
    let (decision, _) = look(&mut facts);
    let resolved = |receiver| (receiver, DeliveryState::Resolved);
    assert_eq!(notices(&decision), [resolved(Receiver::Alertmanager), resolved(Receiver::Webhook)]);
    let Step::Notify(notice) = &decision.steps[0] else { panic!("no notice") };
    assert_eq!(notice.body[0]["endsAt"], json!(facts.now));
    assert_eq!(notices(&look(&mut facts).0), []);
    facts.detector.spec.mode = crate::anomaly::crd::Mode::Alert;
    assert_eq!(notices(&look(&mut facts).0).len(), 2);
}

#[test]
fn nobody_is_told_in_mode_observe_and_all_is_ended_on_deletion() {
    let mut spec = alerting();
    spec["mode"] = json!("Observe");
    let mut facts = healthy(spec);
    sees(&mut facts, vec![incident(NOON, 4.2)]);
    assert_eq!(notices(&look(&mut facts).0), []);
    facts.detector.spec.mode = crate::anomaly::crd::Mode::Alert;
    assert_eq!(notices(&look(&mut facts).0).len(), 2);
    facts.detector.metadata.deletion_timestamp = Some(facts.now.clone());
    let decision = decide(&facts);
    assert!(notices(&decision).iter().all(|(_, state)| *state == DeliveryState::Resolved));
    assert_eq!((notices(&decision).len(), decision.steps.last()), (2, Some(&Step::Release)));
}

#[test]
fn a_constant_that_moves_is_told_once_an_hour() {
    let mut facts = healthy(json!({}));
    let moved = |facts: &mut Facts, now: f64, minutes: i64| {
        let Some(Ok(scoring)) = &mut facts.scoring else { panic!() };
        let (metric, time) = ("archive_failed".to_owned(), NOON + minutes * 60_000);
        scoring.departures = vec![Departure { metric, kind: Kind::Counter, was: 0.0, now, time }];
        let (_, report) = look(facts);
        report.events.into_iter().map(|(reason, message, _)| format!("{reason} {message}")).collect::<Vec<_>>()
    };
    let told = |what: &str| vec![format!("ConstantMoved {what}")];
    assert_eq!(moved(&mut facts, 0.2, 0), told("archive_failed 0/s → 0.2/s"));
    assert_eq!(moved(&mut facts, 0.1, 59), Vec::<String>::new());
    assert_eq!(moved(&mut facts, 0.2, 0), Vec::<String>::new(), "rows are read again");
    assert_eq!(moved(&mut facts, 0.2, 61), told("archive_failed 0/s → 0.2/s"));
    assert_eq!(facts.status().departures.len(), 1);
}

#[test]
fn what_is_called_normal_is_no_signature_and_no_time_to_leave_out() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![ended(incident(NOON, 4.2), NOON + 60_000)]);
    look(&mut facts);
    let id = facts.status().incidents[0].id.clone();
    let annotate = |facts: &mut Facts, cause: &str| {
        facts.detector.metadata.annotations = Some([(CAUSE_ANNOTATION.to_owned(), format!("{id}={cause}"))].into());
    };
    annotate(&mut facts, "a night's export");
    look(&mut facts);
    assert_eq!(facts.status().signatures.len(), 1);
    annotate(&mut facts, NORMAL);
    look(&mut facts);
    // Without a name it would be said of the next one, too.
    let bare = Some([(CAUSE_ANNOTATION.to_owned(), NORMAL.to_owned())].into());
    let annotations = std::mem::replace(&mut facts.detector.metadata.annotations, bare);
    sees(&mut facts, vec![ended(incident(NOON + 1_800_000, 2.0), NOON + 1_860_000)]);
    look(&mut facts);
    assert_eq!(facts.status().incidents[0].label, None);
    facts.detector.metadata.annotations = annotations;
    assert_eq!((facts.status().signatures.len(), facts.status().incidents[1].label.as_deref()), (0, Some(NORMAL)));
    for index in 1..=10 {
        let since = NOON + index * 3_600_000;
        sees(&mut facts, vec![ended(incident(since, 2.0), since + 60_000)]);
        look(&mut facts);
    }
    // The other one is left out.
    assert_eq!((facts.status().incidents.len(), facts.status().past_incidents.len()), (10, 1));
}

#[test]
fn a_label_becomes_a_signature_that_stays() {
    let mut facts = healthy(json!({}));
    sees(&mut facts, vec![ended(incident(NOON, 4.2), NOON + 60_000)]);
    look(&mut facts);
    let id = facts.status().incidents[0].id.clone();
    let annotate = |facts: &mut Facts, text: &str| {
        facts.detector.metadata.annotations = Some([(CAUSE_ANNOTATION.to_owned(), text.to_owned())].into());
    };
    annotate(&mut facts, &format!("{id} = dropped index; unknown=nothing"));
    look(&mut facts);
    let learnt = facts.status().signatures;
    assert_eq!(
        (learnt.len(), learnt[0].cause.as_str(), learnt[0].changes["seq_tup_read"].0),
        (1, "dropped index", 9.5)
    );
    assert_eq!(facts.status().incidents[0].label.as_deref(), Some("dropped index"));
    facts.detector.metadata.annotations = None;
    look(&mut facts);
    assert_eq!(facts.status().signatures, learnt);

    // Words without a name are about the newest of then, not about every one that comes later. What is no name is words;
    // the name of an incident that is gone is none of the newest.
    annotate(&mut facts, "work_mem = 4MB; 20240501t140230z=nothing");
    sees(&mut facts, vec![ended(incident(NOON + 600_000, 2.0), NOON + 660_000)]);
    look(&mut facts);
    sees(&mut facts, vec![ended(incident(NOON + 1_200_000, 2.0), NOON + 1_260_000)]);
    look(&mut facts);
    let labels: Vec<_> = facts.status().incidents.into_iter().map(|incident| incident.label).collect();
    assert_eq!(labels, [None, Some("work_mem = 4MB".to_owned()), Some("dropped index".to_owned())]);
}
