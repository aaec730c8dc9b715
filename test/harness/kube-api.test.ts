import { describe, expect, it } from '@jest/globals';
import { pathOf } from './kube-api.ts';
import { parseObjects, productManifests } from './manifests.ts';

describe('the path of an object', () => {
  it.each([
    ['v1', 'Node', undefined, '/api/v1/nodes/n'],
    ['v1', 'ServiceAccount', 'a', '/api/v1/namespaces/a/serviceaccounts/n'],
    ['v1', 'ConfigMap', undefined, '/api/v1/namespaces/default/configmaps/n'],
    ['rbac.authorization.k8s.io/v1', 'ClusterRole', undefined, '/apis/rbac.authorization.k8s.io/v1/clusterroles/n'],
    ['berth.dev/v1alpha1', 'Sandbox', 'a', '/apis/berth.dev/v1alpha1/namespaces/a/sandboxes/n'],
    [
      'admissionregistration.k8s.io/v1',
      'MutatingAdmissionPolicy',
      undefined,
      '/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/n',
    ],
  ])('%s %s in %s', (apiVersion, kind, namespace, path) => {
    expect(pathOf({ apiVersion, kind, metadata: { name: 'n', ...(namespace === undefined ? {} : { namespace }) } })).toBe(path);
  });
});

describe('the manifests', () => {
  it('are rendered for a namespace and leave nothing of the template', () => {
    const objects = productManifests('elsewhere');
    expect(objects.length).toBeGreaterThan(10);
    expect(JSON.stringify(objects)).not.toContain('{{');
    expect(new Set(objects.map(({ metadata }) => metadata.namespace ?? ''))).toEqual(new Set(['', 'elsewhere']));
  });

  it('are parsed document by document, empty ones left out', () => {
    const yaml = 'kind: A\n---\n# nothing\n---\nkind: B\n';
    expect(parseObjects(yaml)).toEqual([{ kind: 'A' }, { kind: 'B' }]);
  });
});
