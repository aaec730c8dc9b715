import { failpoints } from '../process/failpoints.ts';

/**
 * The places between two effects of the agent at which the crash tests end it, in the sequence of its own start, of a start, a stop and a removal,
 * and of a task.
 */
export const agentFailpoints = [
  /** A container that shows whether an OCI runtime can be used is made. */
  'probe.created',
  /** An order is taken on and not yet durable. */
  'order.accepted',
  /** Records are in the journal's file and not synced. */
  'journal.written',
  /** Records are durable and nobody has been told. */
  'journal.synced',
  /** The new journal lies complete beside the old one. */
  'journal.rewritten',
  /** The new journal has taken the place of the old one. */
  'journal.renamed',
  /** An image is being pulled. */
  'image.pulling',
  /** An image is there, without the proof that the namespace may use it. */
  'image.pulled',
  'image.proven',
  'snapshot.prepared',
  'container.created',
  /** The record of a container that is made anew is gone. */
  'container.deleted',
  'task.created',
  /** The record that opens a shim to others is written. */
  'group.opened',
  'group.closed',
  /** The start is durable and the task is about to be started. */
  'task.starting',
  /** The main program runs and nothing says so. */
  'task.started',
  /** What is known of a copy has been told to all. */
  'copy.told',
  'copy.annotated',
  'task.terminated',
  'task.killed',
  /** The main program has ended and its task is there. */
  'task.exited',
  'task.deleted',
  /** It is proven that nothing runs, and not recorded. */
  'copy.stopped',
  /** The parts of a copy that is removed: its container, its files, its log. */
  'copy.container-removed',
  'copy.snapshot-removed',
  'copy.log-removed',
  /** All of a copy is gone, and not recorded. */
  'copy.removed',
  /** A task is accepted, durably, and containerd knows nothing of it. */
  'command.recorded',
  /** Its process is made, its start is durable and not done. */
  'command.created',
  'command.started',
  /** It could not be made or started, and what is left of it is there. */
  'command.failed',
  /** It has ended, and only containerd knows how. */
  'command.exited',
  /** How it ended is noted, its process is gone and its result is not durable. */
  'command.removed',
  /** Its result is durable and nobody has been told. */
  'command.ended',
  /** A lease is there, and where one is needed a view; nothing is read yet. */
  'backup.begun',
  /** The main program is paused. */
  'backup.paused',
  /** All of a backup is there, and nothing of it in the registry. */
  'backup.read',
  'backup.pushing',
  /** It is in the registry, and still here. */
  'backup.pushed',
] as const;

export type AgentFailpoint = (typeof agentFailpoints)[number];

/** Reaches one of them. Always labelled `FAILPOINT:`, so that it is dropped from what is shipped. */
export const failpoint = /* @__PURE__ */ failpoints(agentFailpoints);
