import { z } from 'zod';
import { dnsLabel, digest, labels, groupName, objectName, quantity, requestID, amountsOf, type ResourceAmounts } from './meta.ts';
import { BACKUP_POLICIES, DESIRED_STATES, IMAGE_PULL_POLICIES, RECLAIM_POLICIES, RECOVERY_POLICIES, RESTART_POLICIES } from './names.ts';
import { millicores, parseNanos, type Quantity } from './quantity.ts';
import {
  atomicList,
  immutable,
  mapList,
  matching,
  onlyValue,
  refused,
  ruled,
  text,
  wholeNumber,
  type DeepReadonly,
  type Rule,
} from './schema.ts';

/** The sandbox that a user asks for. The operator never writes it. */

const LABEL = '[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?';
const PORT = ':([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])';
/** With a dot or a port: else the first part is an owner on Docker Hub, as it is for pods. */
const HOST = `${LABEL}((\\.${LABEL})+(${PORT})?|${PORT})`;
const OWNER = '[a-z0-9]+((_|__|-+)[a-z0-9]+)*';
const PART = '[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*';
const IMAGE = new RegExp(`^(${PART}|(${HOST}|${OWNER})(/${PART})+)(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$`);
const ENV_NAME = /^[-._A-Za-z][-._A-Za-z0-9]*$/;
const SECRET_KEY = /^[-._A-Za-z0-9]+$/;
const NO_NUL = /^[^\x00]*$/;

/** The largest id that Linux and OCI runtimes agree on. */
const MAX_ID = 2_147_483_647;
/** MAX_ARG_STRLEN of Linux: a longer argument or variable makes exec fail. */
const MAX_ARGUMENT = 131_072;
/** What the command and its environment may have in all: stays below ARG_MAX of Linux and below one gRPC message, whatever characters it has. */
const MAX_COMMAND_LINE = 262_144;
const DAY = 86_400;
const YEAR = 366 * DAY;

const argument = () => text(MAX_ARGUMENT).regex(NO_NUL, { message: 'must not contain a NUL byte' });
const seconds = (min: number) => wholeNumber(min, YEAR);

const secretKeyRefSchema = z.object({
  name: objectName('spec.env[].valueFrom.secretKeyRef.name').describe('Name of a Secret in the namespace of the sandbox.'),
  key: matching(
    SECRET_KEY,
    253,
    'spec.env[].valueFrom.secretKeyRef.key must be letters, digits, -, _ and ., as keys of Secrets are.',
  ).describe('Key in the Secret.'),
  optional: z
    .boolean()
    .default(false)
    .describe('Whether the variable is left out when there is no such Secret or key. Else the sandbox waits for it.'),
});

const envVarSchema = ruled(
  z.object({
    name: matching(ENV_NAME, 256, 'spec.env[].name must be letters, digits, _, - and ., not beginning with a digit.').describe(
      'Name of the variable.',
    ),
    value: argument().optional().describe('Value of the variable. Empty when it is not given.'),
    valueFrom: z
      .object({ secretKeyRef: secretKeyRefSchema.describe('Takes the value from a key of a Secret, at every start of the main program.') })
      .optional()
      .describe('Where the value comes from instead.'),
  }),
  {
    rule: '!has(self.valueFrom) || !has(self.value)',
    check: ({ value, valueFrom }) => valueFrom === undefined || value === undefined,
    message: 'spec.env[].valueFrom and spec.env[].value exclude each other: remove one.',
    at: ['valueFrom'],
  },
).describe('One environment variable.');

const requestsSchema = z.object({
  cpu: quantity('spec.resources.requests.cpu', '0', '1024', '500m')
    .optional()
    .describe('Processor time set aside. Default: an eighth of the limit.'),
  memory: quantity('spec.resources.requests.memory', '0', '16Ti', '512Mi').optional().describe('Memory set aside. Default: the limit.'),
  disk: quantity('spec.resources.requests.disk', '0', '64Ti', '4Gi').optional().describe('Disk space set aside. Default: the limit.'),
});

const limitsSchema = z.object({
  cpu: quantity('spec.resources.limits.cpu', '10m', '1024', '500m')
    .default('1')
    .describe('Processor time that the sandbox may use, in cores.'),
  memory: quantity('spec.resources.limits.memory', '8Mi', '16Ti', '512Mi')
    .default('512Mi')
    .describe('Memory that the sandbox may use. Beyond it processes are killed (OOMKilled).'),
  disk: quantity('spec.resources.limits.disk', '1Mi', '64Ti', '4Gi')
    .default('4Gi')
    .describe('Disk space that the sandbox may take with what it writes. Beyond it the main program is ended (DiskLimitExceeded).'),
  pids: wholeNumber(16, 4_194_304).default(512).describe('Processes and threads that the sandbox may have at once.'),
});

/** A request within its limit. A malformed quantity is the field's own error, not this one's. */
function withinLimit(resource: 'cpu' | 'memory' | 'disk'): Rule<{ requests?: Requests | undefined; limits: Limits }> {
  const [request, limit] = [`self.requests.${resource}`, `self.limits.${resource}`];
  return {
    rule:
      `!has(self.requests) || !has(${request}) || !isQuantity(string(${request})) || !isQuantity(string(${limit})) || ` +
      `quantity(string(${request})).compareTo(quantity(string(${limit}))) <= 0`,
    check: ({ requests, limits }) => {
      const [asked, allowed] = [parseNanos(requests?.[resource] ?? '0'), parseNanos(limits[resource])];
      return asked === undefined || allowed === undefined || asked <= allowed;
    },
    message: `spec.resources.requests.${resource} may not be more than spec.resources.limits.${resource}: lower the request or raise the limit.`,
    at: ['requests', resource],
  };
}
type Requests = Readonly<Partial<Record<'cpu' | 'memory' | 'disk', Quantity | undefined>>>;
type Limits = Readonly<Record<'cpu' | 'memory' | 'disk', Quantity>>;

const resourcesSchema = ruled(
  z.object({
    requests: requestsSchema.optional().describe('What a runner sets aside for the sandbox: decides where it fits.'),
    limits: limitsSchema.prefault({}).describe('What the sandbox may use at most.'),
  }),
  withinLimit('cpu'),
  withinLimit('memory'),
  withinLimit('disk'),
);

const backupSchema = z.object({
  policy: z
    .enum(BACKUP_POLICIES)
    .default('OnStop')
    .describe(
      'When the sandbox is backed up. OnStop: after each stop. Interval: after each stop, and every intervalSeconds while it runs. Manual: when requestID asks for it. Never: not at all.',
    ),
  intervalSeconds: seconds(60).default(3600).describe('Seconds between two backups of a running sandbox with policy Interval.'),
  retain: wholeNumber(1, 50)
    .default(3)
    .describe(
      'How many backups are kept. Older ones are removed from the registry, but for the current one, the newest verified one and one that is being restored.',
    ),
  requestID: requestID('spec.backup.requestID')
    .optional()
    .describe('A new value asks for one backup now, of a running sandbox too, which is paused while its files are read.'),
  reclaimPolicy: z
    .enum(RECLAIM_POLICIES)
    .default('Delete')
    .describe('What happens to the backups when the Sandbox is deleted: they are removed from the registry, or kept.'),
});

const restoreSchema = z.object({
  requestID: requestID('spec.restore.requestID').describe('A new value asks for one restore.'),
  digest: digest('spec.restore.digest').describe('The backup to restore.'),
});

const lifecycleSchema = z.object({
  autoArchiveAfterSeconds: refused('spec.lifecycle.autoArchiveAfterSeconds', seconds(1)).describe(
    'Seconds after a stop until the sandbox is archived. Not supported yet.',
  ),
  autoDeleteAfterSeconds: refused('spec.lifecycle.autoDeleteAfterSeconds', seconds(0)).describe(
    'Seconds after a stop until the Sandbox is deleted. Not supported yet.',
  ),
  ephemeral: refused('spec.lifecycle.ephemeral', z.boolean()).describe('Whether a stop deletes the Sandbox. Not supported yet.'),
  autoStopAfterSeconds: refused('spec.lifecycle.autoStopAfterSeconds', seconds(1)).describe(
    'Seconds without activity until the sandbox is stopped. Not supported yet.',
  ),
  autoStart: refused('spec.lifecycle.autoStart', z.boolean()).describe(
    'Whether a request starts a sandbox that stopped by itself. Not supported yet.',
  ),
});

const recoverySchema = z.object({
  policy: onlyValue('spec.recovery.policy', z.enum(RECOVERY_POLICIES), 'Wait')
    .default('Wait')
    .describe('What happens when the runner is lost and its newest content is in no backup. Only Wait is accepted.'),
});

const placementSchema = z.object({
  region: groupName('spec.placement.region').optional().describe('Only runners whose spec.region is this. Default: any.'),
  runnerClassName: dnsLabel('spec.placement.runnerClassName')
    .optional()
    .describe('Only runners whose spec.runnerClassName is this. Default: any.'),
  runnerSelector: z
    .object({
      matchLabels: labels('spec.placement.runnerSelector.matchLabels', 16)
        .optional()
        .describe('Labels that the Runner must have, all of them.'),
    })
    .optional()
    .describe('Only runners with these labels. Default: any.'),
});

const fromSchema = z.object({
  backup: z
    .object({ digest: digest('spec.from.backup.digest').describe('Digest of the backup.') })
    .optional()
    .describe('A backup.'),
  sandbox: z
    .object({ name: dnsLabel('spec.from.sandbox.name').describe('Name of the Sandbox.') })
    .optional()
    .describe('Another Sandbox of the namespace.'),
});

const volumeSchema = z.object({
  name: dnsLabel('spec.volumes[].name').describe('Name of the volume.'),
  mountPath: text(4096).min(1).describe('Where it is mounted.'),
});

const charactersOf = (value: string) => Array.from(value).length;
const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

/** Each part is bounded for itself, too; without this one a single sandbox could be as large as its object may be. */
const commandLineFits: Rule<CommandLine> = {
  rule:
    '(has(self.command) ? self.command.map(text, size(text)).sum() : 0) + ' +
    '(has(self.args) ? self.args.map(text, size(text)).sum() : 0) + ' +
    '(has(self.env) ? self.env.map(variable, size(variable.name) + (has(variable.value) ? size(variable.value) : 0)).sum() : 0) ' +
    `<= ${String(MAX_COMMAND_LINE)}`,
  check: ({ command = [], args = [], env = [] }) => {
    const texts = [...command, ...args, ...env.flatMap(({ name, value = '' }) => [name, value])];
    return sum(texts.map(({ length }) => length)) <= MAX_COMMAND_LINE || sum(texts.map(charactersOf)) <= MAX_COMMAND_LINE;
  },
  message: `spec.command, spec.args and spec.env may have at most ${String(MAX_COMMAND_LINE)} characters together: put large data into a file of the image.`,
};
interface CommandLine {
  readonly command?: readonly string[] | undefined;
  readonly args?: readonly string[] | undefined;
  readonly env?: readonly { readonly name: string; readonly value?: string | undefined }[] | undefined;
}

const specFields = z.object({
  desiredState: z
    .enum(DESIRED_STATES)
    .default('Started')
    .describe(
      'Whether the sandbox is to run. Files are kept on its runner while it is Stopped, and in a backup alone while it is Archived. Deleting the object destroys the sandbox.',
    ),
  image: immutable(
    matching(IMAGE, 512, 'spec.image must be an image reference such as docker.io/library/debian:12, with a tag, a digest or both.'),
    'spec.image may not be changed: create another Sandbox.',
  ).describe('The image that the sandbox begins with. A tag is resolved to a digest once. May not be changed.'),
  imagePullPolicy: z.enum(IMAGE_PULL_POLICIES).default('IfNotPresent').describe('When a runner asks the registry for the image.'),
  imagePullSecrets: mapList(
    z.object({
      name: objectName('spec.imagePullSecrets[].name').describe(
        'Name of a Secret of type kubernetes.io/dockerconfigjson in the namespace of the sandbox.',
      ),
    }),
    ['name'],
    16,
  )
    .optional()
    .describe('Credentials for the registry of the image.'),
  command: atomicList(argument(), 256).optional().describe("The program and its first arguments. Default: the image's entrypoint."),
  args: atomicList(argument(), 1024).optional().describe("Further arguments. Default: the image's command, unless command is given."),
  env: mapList(envVarSchema, ['name'], 256).optional().describe("Environment variables, added to the image's."),
  workingDir: ruled(text(4096).min(1).regex(NO_NUL, { message: 'must not contain a NUL byte' }), {
    rule: "self.startsWith('/')",
    check: (value) => value.startsWith('/'),
    message: 'spec.workingDir must be an absolute path, beginning with /.',
  })
    .optional()
    .describe("Directory in which the program starts. Default: the image's, else /."),
  securityContext: z
    .object({
      runAsUser: wholeNumber(0, MAX_ID).optional().describe("User id of the program. Default: the image's user."),
      runAsGroup: wholeNumber(0, MAX_ID).optional().describe("Group id of the program. Default: the image's group."),
    })
    .optional()
    .describe('Who the program runs as.'),
  resources: resourcesSchema.prefault({}).describe('What is set aside for the sandbox, and what it may use.'),
  restartPolicy: z
    .enum(RESTART_POLICIES)
    .default('Always')
    .describe('Whether the main program is started again when it ends: always, only after a failure, or never.'),
  placement: placementSchema.optional().describe('On which runners the sandbox may be.'),
  runtimeHandler: refused('spec.runtimeHandler', dnsLabel('spec.runtimeHandler')).describe(
    'Name of another container runtime. Not supported yet.',
  ),
  backup: backupSchema.prefault({}).describe('Backups of the files of the sandbox.'),
  restore: restoreSchema.optional().describe('Replaces the files by those of a backup, once for each requestID, at the next start.'),
  restartID: requestID('spec.restartID').optional().describe('A new value asks for one restart of the main program.'),
  lifecycle: lifecycleSchema.optional().describe('What happens by itself after a time.'),
  recovery: recoverySchema.prefault({}).describe('What happens when the runner is lost.'),
  terminationGracePeriodSeconds: wholeNumber(0, 3600).default(10).describe('Seconds between asking the program to end and killing it.'),
  from: refused('spec.from', fromSchema).describe('Begins with other files than those of the image. Not supported yet.'),
  volumes: refused('spec.volumes', mapList(volumeSchema, ['name'], 16)).describe('Volumes. Not supported yet.'),
  network: refused('spec.network', z.object({})).describe('Network settings. Not supported yet.'),
});
const archiveNeedsBackups: Rule<{ readonly desiredState: string; readonly backup: { readonly policy: string } }> = {
  rule: "self.desiredState != 'Archived' || self.backup.policy != 'Never'",
  check: ({ desiredState, backup }) => desiredState !== 'Archived' || backup.policy !== 'Never',
  message: 'spec.desiredState may not be Archived while spec.backup.policy is Never: an archived sandbox is kept in a backup alone.',
  at: ['desiredState'],
};

export const sandboxSpecSchema = ruled(specFields, commandLineFits, archiveNeedsBackups).describe(
  'What the sandbox is to be. Written by users, never by Berth.',
);
export type SandboxSpec = DeepReadonly<z.output<typeof sandboxSpecSchema>>;

/** What a sandbox takes of a runner and what it may use, in whole numbers. */
export interface EffectiveResources {
  readonly requests: ResourceAmounts;
  readonly limits: ResourceAmounts & { readonly pids: number };
}

/**
 * The resources of a sandbox with every default applied. Requests default to the limits, cpu to an eighth of it, rounded up.
 * The defaults of requests are computed here and not stored, so that they follow a changed limit.
 */
export function effectiveResources(spec: Pick<SandboxSpec, 'resources'>): EffectiveResources {
  const { requests, limits } = spec.resources;
  return {
    requests: amountsOf({
      cpu: requests?.cpu ?? `${Math.ceil(millicores(limits.cpu) / 8)}m`,
      memory: requests?.memory ?? limits.memory,
      disk: requests?.disk ?? limits.disk,
    }),
    limits: { ...amountsOf(limits), pids: limits.pids },
  };
}
