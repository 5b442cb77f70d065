//! The steps of a build on their way: started in their order, followed to their ends.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::step::{self, Ended, Stop};
use super::{Halt, Job, StepReport};
use crate::clock::{Timestamp, Work};
use crate::cloudbuild::image::Launch;
use crate::cloudbuild::schedule::{End, Next, Schedule, Status};

impl Job {
    /// Runs the steps in their order.
    pub(super) async fn steps(
        &self,
        mut interrupts: watch::Receiver<(u8, u32)>,
        started: Timestamp,
    ) -> Result<(Vec<StepReport>, Option<Halt>)> {
        let build = &self.resolved.build;
        let mut reports: Vec<StepReport> = build
            .steps
            .iter()
            .map(|step| StepReport {
                id: step.id().to_owned(),
                image: step.image().to_owned(),
                status: Status::Queued,
                exit_code: None,
                duration: None,
                started: None,
                ended: None,
                output: Vec::new(),
            })
            .collect();
        let mut schedule = Schedule::new(&build.steps, &self.left_out);
        let mut halt = None;
        let (stop, stopped) = watch::channel(Stop::GoOn);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let deadline = started + build.timeout();
        let mut works = BTreeMap::new();
        loop {
            // A signal that came while the source was copied counts, too.
            if halt.is_none() && interrupts.has_changed().unwrap_or(false) {
                halt = Some(Halt::Interrupted(interrupts.borrow_and_update().0));
                schedule.stop();
            }
            for index in schedule.start() {
                reports[index].started = Some(self.clock.now());
                self.announce(index);
                // Whatever a step computes counts in real time.
                let work = Work::begin(&self.url, &self.clock).await;
                let (groups, log) = (self.groups.clone(), self.log.clone());
                match &self.containers {
                    Some(containers) if self.plan.launches[index] == Launch::Container => {
                        let ready = self.prepare_container(containers, index, &work)?;
                        let containers = containers.clone();
                        running.spawn(containers.run(ready, groups, log, stopped.clone()));
                    }
                    _ => {
                        let ready = self.prepare(index, &work)?;
                        running.spawn(step::run(ready, groups, log, stopped.clone()));
                    }
                }
                works.insert(index, work);
            }
            tokio::select! {
                joined = running.join_next() => {
                    let Some(joined) = joined else { break };
                    let ended = joined.context("following a step")?;
                    works.remove(&ended.index);
                    if let Some(failed) = self.end(ended, &mut schedule, &mut reports)
                        && halt.is_none()
                    {
                        halt = Some(failed);
                        stop.send_replace(Stop::AtOnce);
                    }
                }
                () = self.clock.reach(deadline), if halt.is_none() => {
                    halt = Some(Halt::Timeout);
                    schedule.stop();
                    stop.send_replace(Stop::AtOnce);
                }
                Ok(()) = interrupts.changed() => {
                    let (code, _count) = *interrupts.borrow_and_update();
                    // Asked a second time, nobody wants to wait.
                    let again = matches!(halt, Some(Halt::Interrupted(_)));
                    stop.send_replace(if again { Stop::AtOnce } else { Stop::Gently });
                    schedule.stop();
                    halt.get_or_insert(Halt::Interrupted(code));
                }
            }
        }
        for (index, report) in reports.iter_mut().enumerate() {
            report.status = schedule.status(index);
        }
        Ok((reports, halt))
    }

    fn announce(&self, index: usize) {
        let steps = &self.resolved.build.steps;
        let step = &steps[index];
        self.log.status(index, step.id(), Status::Working, None);
        if steps.len() > 1 {
            let label = step.label(index);
            self.log.line(&format!("Starting Step {label}"));
        }
        // A container's own lines say how the image was come by.
        if self.plan.launches[index] != Launch::Container {
            self.log
                .of_step(index, &format!("Already have image: {}", step.image()));
        }
    }

    /// Takes note of a step's end; the halt that it means for the build.
    fn end(
        &self,
        ended: Ended,
        schedule: &mut Schedule,
        reports: &mut [StepReport],
    ) -> Option<Halt> {
        let index = ended.index;
        let message = match ended.end {
            End::Exit(code) => format!("step exited with non-zero status: {code}"),
            End::NotStarted => ended.trouble.unwrap_or_default(),
            End::Timeout => "context deadline exceeded".to_owned(),
            End::Killed => "killed by the build".to_owned(),
        };
        let report = &mut reports[index];
        report.duration = Some(ended.took);
        report.ended = Some(self.clock.now());
        report.output = ended.output;
        if let End::Exit(code) = ended.end {
            report.exit_code = Some(code);
        }
        let next = schedule.end(index, ended.end);
        if next == Next::AllowedFailure {
            self.log
                .of_step(index, &format!("{message}; this step may fail"));
        }
        let steps = &self.resolved.build.steps;
        if steps.len() > 1 && ended.end != End::Killed {
            let label = steps[index].label(index);
            self.log.line(&format!("Finished Step {label}"));
        }
        let (id, status) = (steps[index].id(), schedule.status(index));
        self.log.status(index, id, status, reports[index].exit_code);
        (next == Next::Fails).then_some(Halt::Failed { index, message })
    }
}
