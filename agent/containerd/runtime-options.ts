import type { CgroupLayout } from './cgroups.ts';
import { packAny } from './any.ts';
import type { Any } from './gen/google/protobuf/any.ts';
import { Options } from './gen/types/runc/options/oci.ts';

export const ociRuntimes = ['crun', 'runc'] as const;
export type OciRuntime = (typeof ociRuntimes)[number];

/**
 * What the shim is told about the OCI runtime. `root` is where the runtime keeps its state: the shim's default lies outside containerd's own
 * directories, so that two containerds on one machine would share it.
 */
export function runtimeOptions(runtime: OciRuntime, root: string, driver: CgroupLayout['driver']): Any {
  const options = Options.fromPartial({ binaryName: runtime, root, systemdCgroup: driver === 'systemd' });
  return packAny('containerd.runc.v1.Options', Options, options);
}
