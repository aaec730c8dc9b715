import { z } from 'zod';

/** Requests and answers of the HTTP API about slots and tasks. Bounded everywhere: they come from outside. */

const dnsName = z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/, 'must be a name as Kubernetes has them');
const sandboxRef = z
  .object({ namespace: dnsName.default('default').describe('Its namespace.'), name: dnsName.describe('Its name.') })
  .describe('A sandbox.');
const seconds = (least: number, most: number) => z.number().min(least).max(most);
const absolutePath = z
  .string()
  .max(4_096)
  .regex(/^\/[^\0]*$/, 'must be an absolute path');
const size = (most: number) => z.int().min(1).max(most);

export const placedIDParams = z.object({ id: z.string().max(512).describe('The id, as it was answered.') });

export const reserveBody = z.object({
  sandbox: sandboxRef.optional().describe('A slot on the runner of this sandbox, which must be Started. Default: anywhere.'),
  ttlSeconds: seconds(1, 600).default(60).describe('How long the reservation lasts unless it is used, extended or released.'),
  waitSeconds: seconds(0, 60).default(10).describe('How long to wait for a slot.'),
});
export const extendBody = z.object({ ttlSeconds: seconds(1, 600).default(60).describe('How long it lasts from now on. Never shortens.') });

export const reservationSchema = z.object({
  id: z.string().describe('Names the runner and its disk too: any operator pod can act on it.'),
  runnerName: z.string(),
  storeID: z.string(),
  expiresInSeconds: z.number().describe('As of now. 0: it was used.'),
  taskID: z.string().optional().describe('The task that was run under it.'),
});

const data = {
  text: z.string().max(65_536).optional().describe('As UTF-8.'),
  base64: z.base64().max(90_000).optional().describe('As bytes.'),
  upload: z.string().max(512).optional().describe('The id of what was sent by POST /sandbox/uploads: for more than 64 KiB.'),
};

export const uploadQuery = z.object({
  reservationID: z.string().max(512).optional().describe('For a task under this reservation. Either this or sandbox.'),
  sandbox: dnsName.optional().describe('For a task in this sandbox. Either this or reservationID.'),
  namespace: dnsName.default('default').describe('Of the sandbox.'),
});
export const uploadSchema = z.object({
  id: z.string().describe('For `upload` in stdin or inputFiles of one task on this runner.'),
  runnerName: z.string(),
  sizeBytes: z.int(),
  keptForSeconds: z.number().describe('Until a task takes it.'),
});

export const submitBody = z.object({
  sandbox: sandboxRef.optional().describe('Run in this sandbox, which must be Started. Either this or image.'),
  image: z
    .string()
    .min(1)
    .max(1_024)
    .optional()
    .describe('Run in a container of its own from this image, which is removed afterwards. Either this or sandbox.'),
  namespace: dnsName.default('default').describe('With image: where the permission is asked for.'),
  imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent').describe('With image.'),
  imagePullSecrets: z
    .array(z.object({ name: dnsName }))
    .max(8)
    .default([])
    .describe('With image: Secrets of type kubernetes.io/dockerconfigjson in `namespace`.'),
  runAsUser: z.int().min(0).max(4_294_967_294).optional().describe('With image. Default: that of the image.'),
  runAsGroup: z.int().min(0).max(4_294_967_294).optional().describe('With image. Default: that of the image.'),
  command: z
    .array(z.string().max(65_536))
    .max(1_024)
    .default([])
    .describe('The program and its arguments. With image: default is that of the image.'),
  args: z.array(z.string().max(65_536)).max(1_024).default([]).describe('Further arguments.'),
  env: z
    .array(
      z.object({
        name: z
          .string()
          .min(1)
          .max(256)
          .regex(/^[^=\0]+$/),
        value: z.string().max(65_536).default(''),
      }),
    )
    .max(256)
    .default([])
    .describe('Variables, added to those of the container.'),
  workingDir: absolutePath.optional().describe('Default: that of the container.'),
  stdin: z.object(data).optional().describe('What the program reads. Default: nothing.'),
  streamStdin: z.boolean().default(false).describe('Stdin stays open for more: POST …/input.'),
  limits: z
    .object({
      cpuSeconds: seconds(0.001, 86_400).optional().describe('Processor time of all its processes.'),
      wallSeconds: seconds(0.001, 86_400).optional().describe('Time from its start. With image: default 600.'),
      memoryBytes: size(2 ** 44)
        .optional()
        .describe('With image. Default 512 MiB.'),
      processes: size(100_000).optional().describe('With image. Default 128.'),
      outputBytes: size(2 ** 30)
        .optional()
        .describe('Stdout and stderr together. Default 16 MiB.'),
      cpus: z.number().min(0.01).max(1_024).optional().describe('With image: processors it may use at once. Default 1.'),
      outputFileBytes: size(2 ** 30)
        .optional()
        .describe('With image: all output files together. Default 16 MiB.'),
    })
    .default({})
    .describe('What it may use. A task that goes beyond is killed, and its result names the limit.'),
  inputFiles: z
    .array(z.object({ path: absolutePath, ...data, mode: z.int().min(0).max(0o777).default(0o644) }))
    .max(64)
    .default([])
    .describe('With image: files that are there when it starts. With stdin at most 64 KiB.'),
  outputFiles: z.array(absolutePath).max(64).default([]).describe('With image: files that are kept when it ends.'),
  graceSeconds: z.int().min(0).max(600).default(5).describe('Between SIGTERM and SIGKILL when it is cancelled.'),
  reservationID: z
    .string()
    .max(512)
    .optional()
    .describe(
      'The slot to use, of POST /sandbox/reserve. Sent again, the same request under it is the same task. Default: any that is free.',
    ),
  waitSeconds: seconds(0, 60).default(0).describe('How long to wait for its end before it is answered.'),
  queueSeconds: seconds(0, 60).default(10).describe('How long to wait for a slot.'),
});
export type SubmitBody = z.output<typeof submitBody>;

export const waitQuery = z.object({ waitSeconds: z.coerce.number().min(0).max(60).default(0).describe('How long to wait for its end.') });
export const outputQuery = z.object({
  stream: z.enum(['stdout', 'stderr']).default('stdout'),
  offset: z.coerce.number().int().min(0).default(0).describe('Where to begin.'),
  follow: z.stringbool().default(false).describe('To the end of the task.'),
});
export const eventsQuery = z.object({
  stdoutOffset: z.coerce.number().int().min(0).default(0).describe('Where to begin in stdout: after a lost connection, what was received.'),
  stderrOffset: z.coerce.number().int().min(0).default(0).describe('Where to begin in stderr.'),
});
export const fileQuery = z.object({
  path: absolutePath.describe('One of outputFiles.'),
  offset: z.coerce.number().int().min(0).default(0).describe('Where to begin.'),
});
export const inputQuery = z.object({ close: z.stringbool().default(false).describe('Nothing follows: the program sees the end.') });
export const signalBody = z.object({ signal: z.int().min(1).max(64).describe('Its number, to the main program: 15 is SIGTERM.') });

const output = z.object({
  bytes: z.int().describe('Written so far.'),
  text: z.string().optional().describe('All of it, when the task has ended and it is at most 4 KiB with the other stream, and UTF-8.'),
  base64: z.string().optional().describe('The same, when it is not UTF-8.'),
});
export const taskSchema = z.object({
  id: z.string().describe('Names the runner and its disk too: any operator pod can act on it.'),
  runnerName: z.string(),
  storeID: z.string(),
  phase: z.enum(['Accepted', 'Running', 'Ended']),
  repeated: z.boolean().describe('It was there before: an earlier request with the same key or reservation.'),
  acceptedTime: z.string(),
  startTime: z.string().optional(),
  stdout: output,
  stderr: output,
  result: z
    .object({
      outcome: z.enum(['Exited', 'LimitExceeded', 'Cancelled', 'SandboxStopped', 'StartFailed', 'Lost', 'Unknown']),
      exitCode: z.int().describe('128 + signal when a signal ended it.'),
      signal: z.int().optional(),
      limit: z.string().optional().describe('The limit that was hit: CpuTime, WallTime, Memory, Pids or Output.'),
      mayHaveRun: z.boolean().optional().describe('Lost: whether it may have had effects. It is never run again.'),
      reason: z.string().optional(),
      message: z.string().optional(),
      finishTime: z.string(),
      truncated: z.boolean().describe('Output beyond the limit was cut off.'),
      usage: z.object({ cpuSeconds: z.number(), wallSeconds: z.number(), memoryPeakBytes: z.int().optional() }),
      files: z.array(z.object({ path: z.string(), size: z.int(), problem: z.string().optional() })),
      keptForSeconds: z.number().describe('How long the result, its output and files can still be read.'),
    })
    .optional()
    .describe('When it has ended.'),
});

const counts = {
  slots: z.int(),
  used: z.int().describe('Held by tasks.'),
  reserved: z.int().describe('Held by reservations.'),
  free: z.int(),
  queued: z.int().describe('Requests that wait at the runner.'),
};
export const statusSchema = z.object({
  operator: z.object({ name: z.string(), version: z.string() }),
  instances: z
    .array(
      z.object({
        instanceID: z.string(),
        runnerName: z.string(),
        agentID: z.string(),
        storeID: z.string(),
        incarnation: z.int(),
        ageSeconds: z.number(),
      }),
    )
    .describe('The agents that are connected to this operator pod.'),
  fleet: z.object({
    ...counts,
    runners: z.array(
      z.object({
        ...counts,
        runnerName: z.string(),
        storeID: z.string(),
        agentID: z.string(),
        incarnation: z.int().describe('Rises with every start of the agent.'),
        seq: z.int().describe('Rises with every change of the counts in one incarnation.'),
        ageSeconds: z.number().describe('Since the agent last said anything.'),
        startedSandboxes: z.int(),
      }),
    ),
  }),
  complete: z.boolean().describe('Every runner that is ready is in it.'),
  missing: z.array(z.string()).describe('Runners that are ready and not connected to this operator pod.'),
  waiting: z.int().describe('Requests that wait for a slot in this operator pod.'),
});
