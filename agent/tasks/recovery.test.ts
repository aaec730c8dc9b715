import { describe, expect, it } from '@jest/globals';
import { aResult, anEntry, inSandbox } from './a-task.ts';
import { decideRecovery, type Remains } from './recovery.ts';

const remains = (of: Partial<Remains> = {}): Remains => ({
  ...{ process: 'None', hasSandbox: true, hasExit: false, hasSpec: true, bootID: 'boot' },
  ...of,
});
const started = { bootID: 'boot', timeMs: 1 };
const rebooted = remains({ bootID: 'another' });
const accepted = { oneShot: anEntry(), sandbox: anEntry({}, { place: inSandbox }) };
const begun = { oneShot: anEntry({ started }), sandbox: anEntry({ started }, { place: inSandbox }) };

describe('a task after the agent was away', () => {
  it.each([
    { when: 'it has a result', entry: anEntry({ result: aResult() }), found: remains(), want: { kind: 'Done' } },
    {
      when: 'how it ended was noted',
      entry: begun.sandbox,
      found: remains({ hasExit: true, hasSandbox: false }),
      want: { kind: 'Finish' },
    },
    { when: 'a one-shot is made and never ran', entry: begun.oneShot, found: remains({ process: 'Created' }), want: { kind: 'Start' } },
    { when: 'its process in a sandbox is made', entry: begun.sandbox, found: remains({ process: 'Created' }), want: { kind: 'TakeBack' } },
    { when: 'its process runs', entry: begun.oneShot, found: remains({ process: 'Running' }), want: { kind: 'Follow' } },
    { when: 'its process has ended', entry: begun.oneShot, found: remains({ process: 'Stopped' }), want: { kind: 'Finish' } },
    { when: 'a one-shot was only accepted', entry: accepted.oneShot, found: remains(), want: { kind: 'Begin' } },
    { when: 'a one-shot was only accepted, before a reboot', entry: accepted.oneShot, found: rebooted, want: { kind: 'Begin' } },
    {
      when: 'a one-shot was only accepted, and what it was to run is gone',
      entry: accepted.oneShot,
      found: remains({ hasSpec: false }),
      want: { kind: 'Lost', mayHaveRun: false, reason: 'AgentRestarted' },
    },
    {
      when: 'a one-shot was to be started and there is nothing',
      entry: begun.oneShot,
      found: remains(),
      want: { kind: 'Lost', mayHaveRun: true, reason: 'ProcessLost' },
    },
    {
      when: 'a one-shot was to be started and the machine was booted anew',
      entry: begun.oneShot,
      found: rebooted,
      want: { kind: 'Lost', mayHaveRun: true, reason: 'RunnerRebooted' },
    },
    { when: 'its sandbox lives and has no process of it', entry: begun.sandbox, found: remains(), want: { kind: 'Begin' } },
    {
      when: 'its sandbox lives, has no process of it, and what it was to run is gone',
      entry: begun.sandbox,
      found: remains({ hasSpec: false }),
      want: { kind: 'Lost', mayHaveRun: false, reason: 'AgentRestarted' },
    },
    {
      when: 'its sandbox has ended',
      entry: begun.sandbox,
      found: remains({ hasSandbox: false }),
      want: { kind: 'Lost', mayHaveRun: true, reason: 'SandboxStopped' },
    },
    {
      when: 'its sandbox has ended before it was started',
      entry: accepted.sandbox,
      found: remains({ hasSandbox: false }),
      want: { kind: 'Lost', mayHaveRun: false, reason: 'AgentRestarted' },
    },
    {
      when: 'its sandbox has ended with the machine',
      entry: begun.sandbox,
      found: { ...rebooted, hasSandbox: false },
      want: { kind: 'Lost', mayHaveRun: true, reason: 'RunnerRebooted' },
    },
  ])('$when → $want.kind', ({ entry, found, want }) => expect(decideRecovery(entry, found)).toEqual(want));
});
