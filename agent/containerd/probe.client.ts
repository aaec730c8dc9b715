import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { BerthError, messageOf } from '../../process/errors.ts';
import type { Logger } from '../../process/log.ts';
import { failpoint } from '../failpoints.ts';
import type { SeccompProfile } from '../security/oci.ts';
import { buildSpec } from '../security/spec.ts';
import { packSpec } from './any.ts';
import type { Cgroups } from './cgroups.client.ts';
import { specCgroup } from './cgroups.ts';
import type { ContainerdConnection } from './connection.client.ts';
import { ContainerdError, isNotFound } from './containerd-error.ts';
import { listContainers } from './containers.client.ts';
import { keepFile } from './keep-file.client.ts';
import { Container, ContainersService } from './gen/services/containers/v1/containers.ts';
import { CreateTaskRequest, TasksService } from './gen/services/tasks/v1/tasks.ts';
import { probeID, probeProgram } from './probe-program.ts';
import { type OciRuntime, runtimeOptions } from './runtime-options.ts';
import { shimRuntime } from './shim-groups.client.ts';

export interface ProbeOptions {
  readonly connection: ContainerdConnection;
  readonly cgroups: Cgroups;
  /** As Node names it. */
  readonly architecture: string;
  readonly seccomp: SeccompProfile;
  /** A directory that containerd sees under the same path. */
  readonly directory: string;
  readonly hostsFile: string;
  readonly runtimeRoot: string;
  readonly logger: Logger;
}

const label = 'berth.dev/probe';
const probeMs = 20_000;

/**
 * The first of the runtimes that really runs a container here, with the same spec that sandboxes get.
 * @throws BerthError `NoRuntime` when none does.
 */
export async function chooseRuntime(options: ProbeOptions, candidates: readonly OciRuntime[]): Promise<OciRuntime> {
  await sweepProbes(options.connection);
  const rootfs = await writeRootfs(options);
  const refusals: string[] = [];
  for (const runtime of candidates) {
    const refusal = await probe(options, runtime, rootfs);
    if (refusal === undefined) {
      options.logger.info({ runtime, refusals }, 'Chose the OCI runtime');
      return runtime;
    }
    options.logger.warn({ runtime, said: refusal }, 'An OCI runtime cannot be used here');
    refusals.push(`${runtime}: ${refusal}`);
  }
  throw new BerthError('NoRuntime', `No OCI runtime can run a container on this node. ${refusals.join('; ')}`);
}

async function writeRootfs({ directory, architecture }: ProbeOptions): Promise<string> {
  const program = probeProgram(architecture);
  if (program === undefined)
    throw new BerthError('UnsupportedArchitecture', `The architecture '${architecture}' is not supported: use x64 or arm64.`);
  const rootfs = join(directory, 'rootfs');
  await Promise.all(['dev', 'proc', 'sys', 'etc'].map((name) => mkdir(join(rootfs, name), { recursive: true })));
  await Promise.all([keepFile(join(rootfs, 'exit'), program), keepFile(join(rootfs, 'etc/hosts'), '')]);
  await chmod(join(rootfs, 'exit'), 0o755);
  return rootfs;
}

/** Undefined when the container ran and ended with status 0, else what went wrong. */
async function probe(options: ProbeOptions, runtime: OciRuntime, rootfs: string): Promise<string | undefined> {
  const { connection } = options;
  const id = probeID(randomUUID());
  try {
    await createProbe(options, runtime, id, rootfs);
    const wait = connection.call(TasksService.wait, { containerId: id, execId: '' }, { deadlineMs: probeMs });
    const [exit] = await Promise.all([wait, connection.call(TasksService.start, { containerId: id, execId: '' })]);
    return exit.exitStatus === 0 ? undefined : `the program ended with status ${exit.exitStatus}`;
  } catch (error) {
    return error instanceof ContainerdError ? error.said : messageOf(error);
  } finally {
    await removeProbe(connection, id);
  }
}

async function createProbe(options: ProbeOptions, runtime: OciRuntime, id: string, rootfs: string): Promise<void> {
  const { connection, cgroups } = options;
  const small = { cpuMillis: 1000, memoryBytes: 64 * 2 ** 20, diskBytes: 0 };
  const spec = buildSpec({
    hostname: 'probe',
    user: { uid: 0, gid: 0, additionalGids: [] },
    args: ['/exit'],
    env: [],
    cwd: '/',
    requests: small,
    limits: small,
    pidsLimit: 16,
    cgroupsPath: specCgroup(cgroups.layout, id),
    swapAccounting: cgroups.swapAccounting,
    hostsFile: options.hostsFile,
    seccomp: options.seccomp,
  });
  const runtimeAny = runtimeOptions(runtime, options.runtimeRoot, cgroups.layout.driver);
  const container = Container.fromPartial({
    id,
    labels: { [label]: 'true' },
    runtime: { name: shimRuntime, options: runtimeAny },
    spec: packSpec(spec),
  });
  await connection.call(ContainersService.create, { container });
  const request = CreateTaskRequest.fromPartial({
    containerId: id,
    rootfs: [{ type: 'bind', source: rootfs, options: ['bind', 'ro'] }],
    options: runtimeAny,
  });
  await connection.call(TasksService.create, request, { deadlineMs: probeMs });
  FAILPOINT: failpoint('probe.created');
}

/** Removes what probes of an agent that was killed left behind. */
async function sweepProbes(connection: ContainerdConnection): Promise<void> {
  for (const { id } of await listContainers(connection, [`labels."${label}"==true`])) await removeProbe(connection, id);
}

async function removeProbe(connection: ContainerdConnection, id: string): Promise<void> {
  const kill = { containerId: id, execId: '', signal: 9, all: true };
  const wait = connection.call(TasksService.wait, { containerId: id, execId: '' }, { deadlineMs: probeMs });
  await Promise.allSettled([wait, connection.call(TasksService.kill, kill)]);
  await connection.call(TasksService.delete, { containerId: id }).catch(unlessNotFound);
  await connection.call(ContainersService.delete, { id }).catch(unlessNotFound);
}

function unlessNotFound(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
  return undefined;
}
