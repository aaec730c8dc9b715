import type { SandboxManifest } from '../../crds/sandbox.ts';
import { API_GROUP_VERSION } from '../../crds/names.ts';

/** A small Sandbox: it sleeps, ends at once when asked, and takes so little that many fit. */
export function aSandbox(
  name: string,
  spec: Pick<SandboxManifest['spec'], 'image'> & Partial<SandboxManifest['spec']>,
  namespace?: string,
): SandboxManifest {
  return {
    apiVersion: API_GROUP_VERSION,
    kind: 'Sandbox',
    metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
    spec: {
      command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done'],
      resources: { limits: { cpu: '500m', memory: '64Mi' } },
      terminationGracePeriodSeconds: 5,
      ...spec,
    },
  };
}

/** A main program that runs the shell script and then waits to be asked to end. */
export function after(script: string): string[] {
  return ['sh', '-c', `${script}; trap "exit 0" TERM; while :; do sleep 3600 & wait $!; done`];
}

/** Writes a line into its own files at each start of its main program: `World.boots` counts them. */
export function remembering(name: string, image: string): SandboxManifest {
  return aSandbox(name, { image, command: after('mkdir -p /data; echo "boot $GREETING" >> /data/boots') });
}
