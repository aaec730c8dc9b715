import { describe, expect, it } from '@jest/globals';
import { sandboxSpecSchema, type SandboxSpec } from '../../crds/index.ts';
import { copyConfigOf } from './copy-config.ts';

const small = { image: 'registry.test/demo:1' };
const large = {
  ...small,
  command: ['/bin/sh', '-c'],
  args: ['serve'],
  env: [{ name: 'COLOUR', value: 'blue' }, { name: 'EMPTY' }],
  workingDir: '/work',
  securityContext: { runAsUser: 1000, runAsGroup: 1001 },
  resources: { requests: { cpu: '250m', memory: '128Mi', disk: '1Gi' }, limits: { cpu: '2', memory: '1Gi', pids: 64 } },
};

function hashOf(spec: Partial<Record<keyof SandboxSpec, unknown>>): string {
  return copyConfigOf(sandboxSpecSchema.parse({ ...small, ...spec })).hash;
}

describe('the hash of what makes a container', () => {
  it('is the same in every version of Berth: changing one of these tells every running sandbox to restart', () => {
    expect([hashOf(small), hashOf(large)]).toEqual([
      'b730f9daa520776b10b456c1cb37040bbf27448d5331eb3b6f40531e7c311bde',
      '6e413c2187ba97eb6889c0658ebc535350292ab18ba852b1a4874a834b2e74c2',
    ]);
  });

  it.each([
    { when: 'what the API gives by default is written out', spec: { resources: { limits: { cpu: '1000m', memory: '512Mi', pids: 512 } } } },
    { when: 'the requests that follow from the limits are written out', spec: { resources: { requests: { cpu: '125m', disk: '4Gi' } } } },
    { when: 'empty lists are written out', spec: { command: [], args: [], env: [] } },
    { when: 'the image is pulled otherwise', spec: { imagePullPolicy: 'Always', imagePullSecrets: [{ name: 'registry' }] } },
    { when: 'it is stopped, restarted or placed otherwise', spec: { restartPolicy: 'Never', restartID: 'x', placement: { region: 'eu' } } },
    { when: 'it has another grace', spec: { terminationGracePeriodSeconds: 99 } },
  ])('does not change when $when', ({ spec }) => {
    expect(hashOf(spec)).toBe(hashOf(small));
  });

  it.each([
    { command: ['a'] },
    { args: ['a'] },
    { env: [{ name: 'A' }] },
    { workingDir: '/' },
    { securityContext: { runAsUser: 0 } },
    { securityContext: { runAsGroup: 0 } },
    { resources: { requests: { cpu: '126m' } } },
    { resources: { requests: { memory: '1Mi' } } },
    { resources: { requests: { disk: '1Mi' } } },
    { resources: { limits: { cpu: '2' } } },
    { resources: { limits: { memory: '1Gi' } } },
    { resources: { limits: { pids: 16 } } },
  ])('changes with %j', (spec) => {
    expect(hashOf(spec)).not.toBe(hashOf(small));
  });
});
