import { z } from 'zod';
import { conditions, digest, identity, objectName, reason, requestID } from './meta.ts';
import {
  ASSIGNMENT_PHASES,
  BACKUP_OPERATION_KINDS,
  BACKUP_OPERATION_STATES,
  EXIT_REASONS,
  SANDBOX_STATES,
  SOURCE_KINDS,
  TAKEN_WHILE,
} from './names.ts';
import { counter, mapList, time, wholeNumber, type DeepReadonly, text } from './schema.ts';

/** What was observed of a sandbox, and what was decided for it. Written by the operator alone. */

const runnerName = (field: string) => objectName(field);

/** Host, perhaps a port, and a path, as in `registry.example.com/berth/default.web`. */
const repository = () => text(512).min(1);

const sourceSchema = z.object({
  kind: z.enum(SOURCE_KINDS).describe('Image: the base image. Local: the copy that lies on the runner. Backup: a backup.'),
  digest: digest('status.assignment.source.digest').optional().describe('Digest of the image or backup; none for Local.'),
  repository: repository().optional().describe('Repository of the backup, without a tag; none for Image and Local.'),
});

const previousSchema = z.object({
  runnerName: runnerName('status.assignment.previous.runnerName').describe('The runner that holds the previous copy.'),
  storeID: identity().describe('Its store.'),
  epoch: counter().describe('The epoch of the previous copy.'),
  contentVersion: counter().describe('The version of the content of the previous copy.'),
});

const assignmentSchema = z.object({
  epoch: counter().describe('Rises with every assignment: names one copy.'),
  storeID: identity().describe("The runner's store that the order is for."),
  bootID: identity().describe("The runner's boot that the order is for."),
  phase: z.enum(ASSIGNMENT_PHASES).describe('Prepared: another runner may still be chosen. Committed: only a proof leaves this one.'),
  source: sourceSchema.describe('Where the content of the copy comes from.'),
  previous: previousSchema.optional().describe('The copy to return to when the assignment is given up.'),
  reason: reason('status.assignment.reason').describe('Why this runner was chosen.'),
  startTime: time().describe('When it was chosen.'),
  configHash: z
    .string()
    .min(1)
    .max(128)
    .describe('Hash of the part of the spec that makes the container: what this order was decided for.'),
  runningConfigHash: z
    .string()
    .min(1)
    .max(128)
    .optional()
    .describe('That hash of the main program that runs, when orders about it were given for a newer spec since.'),
});

const takenWhile = () =>
  z.enum(TAKEN_WHILE).describe('Stopped: nothing ran between its begin and its end. Paused: taken of a running sandbox.');

const backupRecordSchema = z.object({
  digest: digest('status.backup.history[].digest').describe('Digest of the manifest in the registry.'),
  repository: repository().describe('Repository that holds it.'),
  contentVersion: counter().describe('The version of the content that it holds.'),
  takenWhile: takenWhile(),
  sizeBytes: counter().describe('Size in the registry in bytes.'),
  completionTime: time().describe('When it was complete.'),
});

const backupOperationSchema = z.object({
  kind: z
    .enum(BACKUP_OPERATION_KINDS)
    .describe('Why it is made: because the sandbox stopped, an interval is over, it was requested, or it is to be archived.'),
  state: z
    .enum(BACKUP_OPERATION_STATES)
    .describe('Pending: it waits for retryTime. Running: its runner is to make it. Failed: it is not tried again.'),
  id: counter().describe('Number of the backup among those of this sandbox: part of its tag.'),
  requestID: requestID('status.backup.operation.requestID').optional().describe('The request that it answers.'),
  repository: repository().describe('Repository that it goes to.'),
  storeID: identity().describe('The store with the copy that is read.'),
  epoch: counter().describe('The epoch of that copy.'),
  contentVersion: counter().describe('The version of the content that is read.'),
  startTime: time().describe('When it began.'),
  attempts: counter().default(0).describe('Failed attempts so far.'),
  retryTime: time().optional().describe('When the next attempt is due.'),
  bytes: counter().optional().describe('Bytes moved so far. Written now and then.'),
  progressTime: time().optional().describe('As of when the bytes are.'),
  reason: reason('status.backup.operation.reason').optional().describe('Why it waits or failed.'),
  message: text(1024).optional().describe('Why, in one sentence.'),
});

const releaseSchema = z.object({
  runnerName: runnerName('status.releases[].runnerName').describe('The runner that holds the copy.'),
  storeID: identity().describe('Its store.'),
  epoch: counter().describe('The epoch of the copy. Exactly this one is removed.'),
  contentVersion: counter().describe('The version of its content.'),
});

const transitionSchema = z.object({
  startTime: time().describe('When the state was entered.'),
  deadlineTime: time().optional().describe('When it is given up.'),
  attempts: counter().default(0).describe('Failed attempts since the last success.'),
  retryTime: time().optional().describe('When the next attempt is due.'),
});

export const sandboxStatusSchema = z
  .object({
    state: z.enum(SANDBOX_STATES).default('Pending').describe('What was observed of the sandbox.'),
    reason: reason('status.reason').optional().describe('Why, in one word from the list of reasons.'),
    message: text(4096).optional().describe('Why, in one sentence.'),
    observedGeneration: counter().optional().describe('The metadata.generation that this status answers.'),
    runnerName: runnerName('status.runnerName').optional().describe('The runner that holds the sandbox.'),
    prevRunnerName: runnerName('status.prevRunnerName').optional().describe('The runner that held it before.'),
    order: counter().default(0).describe('Number of the highest order. An agent refuses lower ones.'),
    assignment: assignmentSchema.optional().describe('The copy that the orders are about.'),
    highestEpoch: counter().default(0).describe('The highest epoch that was ever given: the next is above it.'),
    contentVersion: counter().default(0).describe('Rises whenever the content is permitted to change. 0: there is no content yet.'),
    baseImage: z
      .object({
        ref: text(512).min(1).describe('The reference as the spec has it.'),
        digest: digest('status.baseImage.digest').describe('What it was resolved to.'),
      })
      .optional()
      .describe('The image, resolved once and used for every create, backup and restore.'),
    backup: z
      .object({
        latest: backupRecordSchema.optional().describe('The newest backup.'),
        lastID: counter().default(0).describe('The number of the last backup that was begun.'),
        requestID: requestID('status.backup.requestID').optional().describe('The spec.backup.requestID that was last done, or given up.'),
        operation: backupOperationSchema.optional().describe('The backup that is being made, or that failed last.'),
        history: mapList(
          backupRecordSchema.extend({
            verifiedTime: time().optional().describe('When the operator last read it back and found it whole.'),
            deletionTime: time().optional().describe('When its removal was decided. It is not restored any more.'),
          }),
          ['digest'],
          100,
        )
          .default([])
          .describe('The backups, oldest first.'),
      })
      .optional()
      .describe('Backups.'),
    restore: z
      .object({
        requestID: requestID('status.restore.requestID').describe('The spec.restore.requestID that was last done.'),
        digest: digest('status.restore.digest').describe('The backup that was restored.'),
        completionTime: time().describe('When what was restored ran first.'),
      })
      .optional()
      .describe('The restore that was last done.'),
    releases: mapList(releaseSchema, ['runnerName', 'epoch'], 32).default([]).describe('Copies that are to be removed from their runners.'),
    superseded: mapList(
      z.object({
        runnerName: runnerName('status.superseded[].runnerName').describe('The runner that holds the copy.'),
        storeID: identity().describe('Its store.'),
        epoch: counter().describe('The epoch of the copy.'),
        contentVersion: counter().describe('The version of its content.'),
      }),
      ['runnerName', 'epoch'],
      32,
    )
      .default([])
      .describe(
        'Copies that a restore has replaced. They are stopped and kept until a backup with their version was read back, or the Sandbox is deleted.',
      ),
    transition: transitionSchema.optional().describe('The change that is being made.'),
    startTime: time().optional().describe('When the main program was last started.'),
    finishTime: time().optional().describe('When it last ended.'),
    exitCode: wholeNumber(0, 255).optional().describe('Exit code of its last end: 128 and the number of the signal when one ended it.'),
    exitReason: z.enum(EXIT_REASONS).optional().describe('How it last ended.'),
    restartCount: counter().default(0).describe('How often it was started again after it had ended by itself.'),
    restartID: requestID('status.restartID').optional().describe('The spec.restartID that was last done.'),
    conditions: conditions(16).default([]).describe('Ready, Assigned and BackedUp.'),
  })
  .describe('What was observed and decided. Written by the operator.');

export type SandboxStatus = DeepReadonly<z.output<typeof sandboxStatusSchema>>;
export type Assignment = NonNullable<SandboxStatus['assignment']>;
export type AssignmentSource = Assignment['source'];
export type PreviousCopy = NonNullable<Assignment['previous']>;
export type BaseImage = NonNullable<SandboxStatus['baseImage']>;
export type BackupStatus = NonNullable<SandboxStatus['backup']>;
export type BackupRecord = BackupStatus['history'][number];
export type BackupOperation = NonNullable<BackupStatus['operation']>;
export type Release = SandboxStatus['releases'][number];
export type Transition = NonNullable<SandboxStatus['transition']>;
