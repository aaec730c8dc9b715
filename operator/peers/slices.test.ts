import { describe, expect, it } from '@jest/globals';
import type { KubeObject } from '../../kube/types.ts';
import { peersOf, readEndpointSlice } from './slices.ts';

const aSlice = (of: object): KubeObject => ({
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'berth-operator-x', namespace: 'berth-system', uid: 'u', resourceVersion: '1' },
  ...{ addressType: 'IPv4', ports: [{ name: 'agents', port: 3001 }], ...of },
});
const pod = (name: string, address: string, conditions: object = {}) => ({
  addresses: [address],
  conditions,
  targetRef: { kind: 'Pod', name },
});

describe('the other operator pods', () => {
  it.each([
    {
      when: 'three pods are ready, one of them this one',
      slices: [aSlice({ endpoints: [pod('a', '10.0.0.1'), pod('me', '10.0.0.2'), pod('c', '10.0.0.3', { ready: true })] })],
      want: ['10.0.0.1:3001', '10.0.0.3:3001'],
    },
    {
      when: 'one is not ready and one is about to end',
      slices: [aSlice({ endpoints: [pod('a', '10.0.0.1', { ready: false }), pod('b', '10.0.0.2', { ready: true, terminating: true })] })],
      want: [],
    },
    {
      when: 'there are several slices, of both families, that name some twice',
      slices: [
        aSlice({ endpoints: [pod('a', '10.0.0.1')] }),
        aSlice({ endpoints: [pod('a', '10.0.0.1')] }),
        aSlice({ addressType: 'IPv6', endpoints: [pod('a', 'fd00::1')] }),
      ],
      want: ['10.0.0.1:3001', '[fd00::1]:3001'],
    },
    {
      when: 'the Service has several ports',
      slices: [
        aSlice({
          endpoints: [pod('a', '10.0.0.1')],
          ports: [
            { name: 'http', port: 3002 },
            { name: 'agents', port: 3001 },
          ],
        }),
      ],
      want: ['10.0.0.1:3001'],
    },
    {
      when: 'its only port has no name',
      slices: [aSlice({ endpoints: [pod('a', '10.0.0.1')], ports: [{ port: 4000 }] })],
      want: ['10.0.0.1:4000'],
    },
    { when: 'there is no port', slices: [aSlice({ endpoints: [pod('a', '10.0.0.1')], ports: null })], want: [] },
    { when: 'addresses are names', slices: [aSlice({ addressType: 'FQDN', endpoints: [pod('a', 'a.example')] })], want: [] },
    { when: 'an endpoint is no pod', slices: [aSlice({ endpoints: [{ addresses: ['10.0.0.9'] }] })], want: ['10.0.0.9:3001'] },
    { when: 'the Service has no endpoints', slices: [aSlice({ endpoints: null })], want: [] },
    { when: 'there is no slice', slices: [], want: [] },
  ])('$when: $want', ({ slices, want }) => {
    expect(peersOf(slices.map(readEndpointSlice), 'me')).toEqual(want);
  });
});
