import type { AssignmentReason, BackupRecord, SandboxReason } from '../../crds/index.ts';
import type { AgentView, RunnerView } from '../assignment/runner-view.ts';
import type { RunnerLesson, SandboxEvent } from './decision.ts';
import type { Settled } from './settle.ts';
import type { RegistryWork, SandboxSnapshot } from './snapshot.ts';

/** What the rules look at: the snapshot, and what its facts make of the status. */
export interface Situation {
  readonly world: SandboxSnapshot;
  readonly settled: Settled;
}

/** What a rule decides. */
export type Outcome =
  /** As it is; look again when that may change by time alone. */
  | { readonly kind: 'Keep'; readonly lookAgainMs?: number | undefined; readonly registry?: readonly RegistryWork[] }
  /** Pending: the world has to change first. With `BackOff`, what looks possible was refused: it is not tried again at once. */
  | {
      readonly kind: 'Wait';
      readonly reason: SandboxReason;
      readonly message: string;
      readonly lookAgainMs?: number | undefined;
      readonly retry?: 'BackOff' | undefined;
      readonly registry?: readonly RegistryWork[];
    }
  /** Error, tried again with back-off; or `Never` by time, only when the world or the spec changes. */
  | {
      readonly kind: 'Fail';
      readonly reason: SandboxReason;
      readonly message: string;
      readonly retry: 'BackOff' | 'OnChange';
      readonly lesson?: RunnerLesson | undefined;
    }
  /** A new copy from the image on this runner, committed at once. */
  | {
      readonly kind: 'Assign';
      readonly runner: RunnerView;
      readonly agent: AgentView;
      readonly reason: AssignmentReason;
      readonly lesson?: RunnerLesson | undefined;
    }
  /** The copy that lies on the runner, started once more. */
  | { readonly kind: 'StartInPlace'; readonly agent: AgentView; readonly notices?: readonly SandboxEvent[] }
  /** A move, or another target of one: a new copy from the backup on this runner, prepared; the copy of before is kept to go back to. */
  | {
      readonly kind: 'Restore';
      readonly runner: RunnerView;
      readonly agent: AgentView;
      readonly record: BackupRecord;
      readonly reason: AssignmentReason;
      readonly lesson?: RunnerLesson | undefined;
      readonly notices?: readonly SandboxEvent[];
    }
  /** The restored copy is ready: it may run. */
  | { readonly kind: 'Commit' }
  /** Nothing ran in the restored copy: it goes, and the copy of before is assigned again, if there is one. */
  | {
      readonly kind: 'GoBack';
      readonly then: AfterGoingBack;
      readonly lesson?: RunnerLesson | undefined;
      readonly notices?: readonly SandboxEvent[];
      readonly registry?: readonly RegistryWork[];
    }
  /** It is being backed up, or its backup read back, so that its copy may go. */
  | { readonly kind: 'Archiving'; readonly message: string; readonly registry?: readonly RegistryWork[]; readonly lookAgainMs?: number }
  /** Its copy goes: the files are in a backup that was read back. */
  | { readonly kind: 'Archive'; readonly message: string }
  /** The process is asked to end. */
  | { readonly kind: 'Stop'; readonly reason: 'Stopping' | 'Restarting' }
  /** Stopped, and stays so: because it is asked for, or because it ended and is not to be started again. */
  | { readonly kind: 'Rest'; readonly reason: SandboxReason }
  /** It ended and is started again after a wait. */
  | { readonly kind: 'BackOff'; readonly retryMs: number };

/** What becomes of the copy that it goes back to. */
export type AfterGoingBack =
  | { readonly kind: 'Start'; readonly agent: AgentView }
  /** Not what is wanted, or not there: it waits there, at rest as it was before, and is tried again with back-off. */
  | { readonly kind: 'Wait'; readonly reason: SandboxReason; readonly message: string }
  | { readonly kind: 'Rest' };

export type OutcomeOf<Kind extends Outcome['kind']> = Outcome & { readonly kind: Kind };

/** A rule: its outcome, or undefined when it says nothing about the situation. */
export type Rule = (situation: Situation) => Outcome | undefined;

/** The first rule that says something. */
export function firstOf(situation: Situation, rules: readonly Rule[]): Outcome {
  return rules.reduce<Outcome | undefined>((found, rule) => found ?? rule(situation), undefined) ?? { kind: 'Keep' };
}
