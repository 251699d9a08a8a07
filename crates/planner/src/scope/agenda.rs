//! When scopes are in force, worked out for some days at a time.

use std::time::Duration;

use forecast::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{AGENDA, Bounds, Moment, Scope, ScopeReason, Scopes};

/// The scopes of the coming hours.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agenda {
    /// From when to when it is complete.
    covers: Option<(Timestamp, Timestamp)>,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    from: Timestamp,
    to: Timestamp,
    /// Place of the scope in the policy; spans are in that order.
    scope: usize,
}

impl Agenda {
    /// The bounds of a plan made now, when it takes `active` until a further instance serves and `total` until one more
    /// is there; and which scopes they come from.
    pub(crate) fn bounds(
        &mut self,
        scopes: &Scopes,
        zone: Option<&TimeZone>,
        now: Timestamp,
        (active, total): (Duration, Duration),
    ) -> (Bounds, Vec<ScopeReason>) {
        let until = now.saturating_add(total.max(active));
        self.prepare(scopes, zone.unwrap_or(&TimeZone::UTC), now, until);
        let moments = |until: Timestamp| {
            let ends = self.spans.iter().flat_map(|span| [span.from, span.to]);
            let changes = ends.filter(move |at| *at > now && *at <= until);
            std::iter::once(now).chain(changes).map(|at| self.at(scopes, at))
        };
        let most = |until, of: fn(Moment) -> u32| moments(until).map(of).max().unwrap_or(0);
        let bounds = Bounds {
            active_min: most(now.saturating_add(active), |m| m.replicas_min),
            standby_min: self.at(scopes, now).standby_min,
            total_min: most(until, |m| m.replicas_min.saturating_add(m.standby_min).min(m.replicas_max)),
            replicas_max: most(until, |m| m.replicas_max),
        };
        (bounds, self.reasons(&scopes.scopes, now, until))
    }

    /// What holds at a moment.
    fn at(&self, scopes: &Scopes, at: Timestamp) -> Moment {
        let mut moment = scopes.base;
        for span in self.spans.iter().filter(|span| span.from <= at && at < span.to) {
            let scope = &scopes.scopes[span.scope];
            moment.replicas_min = scope.replicas_min.unwrap_or(moment.replicas_min);
            moment.replicas_max = scope.replicas_max.unwrap_or(moment.replicas_max);
            moment.standby_min = scope.standby_min.unwrap_or(moment.standby_min);
        }
        moment.replicas_min = moment.replicas_min.min(moment.replicas_max);
        moment
    }

    fn reasons(&self, scopes: &[Scope], now: Timestamp, until: Timestamp) -> Vec<ScopeReason> {
        let ahead = self.spans.iter().filter(|span| span.from <= until && now < span.to);
        ahead
            .map(|span| {
                let scope = &scopes[span.scope];
                ScopeReason {
                    scope: scope.name.clone(),
                    begins: (span.from > now).then_some(span.from),
                    ends: span.to,
                    replicas_min: scope.replicas_min,
                    replicas_max: scope.replicas_max,
                    standby_min: scope.standby_min,
                }
            })
            .collect()
    }

    /// Works the scopes out anew where those known do not cover the time.
    fn prepare(&mut self, scopes: &Scopes, zone: &TimeZone, now: Timestamp, until: Timestamp) {
        if self.covers.is_some_and(|(from, to)| from <= now && until < to) {
            return;
        }
        let end = until.saturating_add(AGENDA);
        self.spans.clear();
        self.covers = Some((now, end));
        // Yesterday's may last until today.
        let (Some(first), Some(last)) =
            (date_of(now, zone).and_then(|date| date.yesterday().ok()), date_of(end, zone))
        else {
            return;
        };
        let holidays = scopes.holidays(first.year()..=last.year());
        for (place, scope) in scopes.scopes.iter().enumerate() {
            let days = first.series(jiff::Span::new().days(1)).take_while(|date| *date <= last);
            let days = days.filter(|date| scope.begins_on(*date, &holidays));
            let spans = days.filter_map(|date| scope.span(date, zone));
            self.spans.extend(spans.map(|(from, to)| Span { from, to, scope: place }));
        }
    }
}

fn date_of(at: Timestamp, zone: &TimeZone) -> Option<Date> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?;
    Some(at.to_zoned(zone.clone()).date())
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Time, date, time};

    use super::*;
    use crate::scope::Days;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn weekdays() -> Days {
        Days { weekdays: [true, true, true, true, true, false, false], ..Days::NONE }
    }

    fn office() -> Scope {
        Scope {
            name: "office".into(),
            days: weekdays(),
            except: Days::NONE,
            from: time(8, 0, 0, 0),
            to: time(18, 0, 0, 0),
            replicas_min: Some(5),
            replicas_max: Some(50),
            standby_min: Some(2),
        }
    }

    fn scopes(scopes: Vec<Scope>) -> Scopes {
        Scopes::new(Moment { replicas_min: 1, replicas_max: 10, standby_min: 0 }, scopes, vec!["DE".into()])
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").expect("a known zone")
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    /// The minimum of active instances, and the maximum, with no lead time at all.
    fn now(scopes: &Scopes, text: &str) -> (u32, u32) {
        let bounds =
            Agenda::default().bounds(scopes, Some(&berlin()), at(text), (Duration::ZERO, Duration::ZERO));
        (bounds.0.active_min, bounds.0.replicas_max)
    }

    #[test]
    fn office_hours_are_those_of_the_place_on_both_sides_of_a_change_of_clocks() {
        let scopes = scopes(vec![office()]);
        // Winter: 08:00 is 07:00 UTC; summer: 06:00 UTC. The clocks changed on Sunday, 29 March 2026.
        for (before, after) in [
            ("2026-03-27T06:59:59Z", "2026-03-27T07:00:00Z"),
            ("2026-03-30T05:59:59Z", "2026-03-30T06:00:00Z"),
        ] {
            assert_eq!((now(&scopes, before), now(&scopes, after)), ((1, 10), (5, 50)));
        }
        assert_eq!(now(&scopes, "2026-03-30T15:59:59Z"), (5, 50));
        assert_eq!(now(&scopes, "2026-03-30T16:00:00Z"), (1, 10));
        assert_eq!(now(&scopes, "2026-03-28T10:00:00Z"), (1, 10), "a Saturday");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = Scope { from: time(22, 0, 0, 0), to: time(6, 0, 0, 0), ..office() };
        let scopes = scopes(vec![night]);
        assert_eq!(now(&scopes, "2026-03-28T02:00:00Z").0, 5, "Saturday at 03:00 is Friday's night");
        assert_eq!(now(&scopes, "2026-03-30T02:00:00Z").0, 1, "Monday at 04:00 is Sunday's");
        let whole = Scope { from: Time::midnight(), to: Time::midnight(), ..office() };
        let scopes = self::scopes(vec![whole]);
        assert_eq!(now(&scopes, "2026-03-27T22:59:59Z").0, 5);
        assert_eq!(now(&scopes, "2026-03-27T23:00:00Z").0, 1);
    }

    #[test]
    fn holidays_and_dates_are_in_or_out() {
        let closed = Scope { except: Days { holidays: true, ..Days::NONE }, ..office() };
        let sale = Scope {
            days: Days { dates: vec![(date(2026, 12, 24), date(2026, 12, 26))], ..Days::NONE },
            replicas_min: Some(8),
            ..office()
        };
        let scopes = scopes(vec![closed, sale]);
        assert_eq!(now(&scopes, "2026-01-01T10:00:00Z").0, 1, "New Year, a Thursday");
        assert_eq!(now(&scopes, "2026-01-02T10:00:00Z").0, 5);
        assert_eq!(now(&scopes, "2026-12-26T10:00:00Z").0, 8, "a Saturday of the sale");
        assert_eq!(now(&scopes, "2026-12-27T10:00:00Z").0, 1);
    }

    #[test]
    fn the_last_scope_that_names_a_bound_decides_it_and_a_maximum_cuts_a_minimum() {
        let calm = Scope { name: "calm".into(), replicas_min: None, replicas_max: Some(3), ..office() };
        assert_eq!(now(&scopes(vec![office(), calm.clone()]), "2026-03-27T10:00:00Z"), (3, 3));
        assert_eq!(now(&scopes(vec![calm, office()]), "2026-03-27T10:00:00Z"), (5, 50));
    }

    #[test]
    fn the_widest_minimum_is_what_a_maximum_cuts_it_to() {
        let night = Scope { replicas_min: None, replicas_max: Some(2), standby_min: None, ..office() };
        let base = Moment { replicas_min: 4, replicas_max: 10, standby_min: 0 };
        let scopes = Scopes::new(base, vec![office(), night], Vec::new());
        assert_eq!(now(&scopes, "2026-03-27T10:00:00Z"), (2, 2));
        assert_eq!(scopes.widest(), Moment { replicas_min: 2, replicas_max: 50, standby_min: 0 });
    }

    #[test]
    fn a_minimum_is_prepared_for_a_lead_time_before_and_a_maximum_falls_when_it_does() {
        let scopes = scopes(vec![office()]);
        let mut agenda = Agenda::default();
        let mut plan = |text| agenda.bounds(&scopes, Some(&berlin()), at(text), (HOUR / 60, HOUR / 2));
        let early = plan("2026-03-30T05:29:00Z").0;
        assert_eq!((early.active_min, early.total_min, early.replicas_max), (1, 1, 10));
        let (ahead, reasons) = plan("2026-03-30T05:30:00Z");
        assert_eq!((ahead.active_min, ahead.total_min, ahead.standby_min, ahead.replicas_max), (1, 7, 0, 50));
        assert_eq!(reasons[0].begins, Some(at("2026-03-30T06:00:00Z")));
        assert!(reasons[0].to_string().starts_with("Scope \"office\" begins at 2026-03-30T06:00:00Z"));
        assert_eq!(plan("2026-03-30T05:59:00Z").0.active_min, 5);
        let (late, reasons) = plan("2026-03-30T15:59:59Z");
        assert_eq!((late.active_min, late.standby_min, late.replicas_max), (5, 2, 50));
        assert!(reasons[0].begins.is_none() && reasons[0].ends == at("2026-03-30T16:00:00Z"));
        assert_eq!(plan("2026-03-30T16:00:00Z").0, Bounds::fixed(1, 10, 0));
        assert_eq!(plan("2026-03-30T05:45:00Z").0.total_min, 7, "also when the clock is set back");
    }
}
