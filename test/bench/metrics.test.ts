import { describe, expect, it } from '@jest/globals';
import { increase, parseMetrics, sumOf, writesByResource } from './metrics.ts';

const page = `# HELP apiserver_request_total Requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",resource="leases",verb="PATCH"} 40
apiserver_request_total{code="409",resource="leases",verb="PUT"} 2
apiserver_request_total{code="200",resource="sandboxes",subresource="status",verb="PATCH"} 1e+03
apiserver_request_total{code="200",resource="sandboxes",verb="LIST"} 7
apiserver_request_total{code="201",resource="tokenreviews",verb="POST"} 3
process_resident_memory_bytes 1.5e+06
kube_cache_objects{resource="a \\"quoted\\" one"} 4
`;

describe('a metrics page', () => {
  const samples = parseMetrics(page);

  it('is read with labels and without', () => {
    expect(sumOf(samples, 'process_resident_memory_bytes')).toBe(1_500_000);
    expect(sumOf(samples, 'apiserver_request_total', ({ resource }) => resource === 'leases')).toBe(42);
    expect(samples.at(-1)).toEqual({ name: 'kube_cache_objects', labels: { resource: 'a \\"quoted\\" one' }, value: 4 });
  });

  it('tells the writes of each resource, and reviews are none', () => {
    expect([...writesByResource(samples)]).toEqual([
      ['leases', 42],
      ['sandboxes', 1000],
    ]);
  });

  it('tells what has become more', () => {
    const before = new Map([
      ['leases', 40],
      ['sandboxes', 1000],
    ]);
    const after = new Map([
      ['leases', 42],
      ['sandboxes', 1000],
      ['events', 1],
    ]);
    expect([...increase(before, after)]).toEqual([
      ['leases', 2],
      ['events', 1],
    ]);
  });
});
