/** What a registry asks for with WWW-Authenticate. */
export type Challenge =
  | { readonly kind: 'Basic' }
  | { readonly kind: 'Bearer'; readonly realm: string; readonly service: string | undefined; readonly scope: string | undefined };

const scheme = /(?:^|,)\s*(basic|bearer)(?=\s|,|$)/gi;
const parameter = /([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/gi;

/**
 * The challenges of the header, of several lines or of one; what is not understood is left out. A Bearer challenge without a realm is none:
 * nobody could be asked for a token.
 */
export function parseChallenges(header: string | undefined): readonly Challenge[] {
  if (header === undefined) return [];
  const starts = [...header.matchAll(scheme)].filter(({ index }) => isOutsideQuotes(header, index));
  return starts.flatMap((match, at): readonly Challenge[] => {
    if (match[1]?.toLowerCase() === 'basic') return [{ kind: 'Basic' }];
    const parameters = parametersOf(header.slice(match.index + match[0].length, starts[at + 1]?.index));
    const realm = parameters.get('realm');
    return realm === undefined ? [] : [{ kind: 'Bearer', realm, service: parameters.get('service'), scope: parameters.get('scope') }];
  });
}

function parametersOf(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(parameter)].map(([, name = '', quoted, plain = '']) => [name.toLowerCase(), unescape(quoted) ?? plain]));
}

function unescape(quoted: string | undefined): string | undefined {
  return quoted?.replace(/\\(.)/g, '$1');
}

function isOutsideQuotes(text: string, index: number): boolean {
  return (text.slice(0, index).replace(/\\./g, '').split('"').length - 1) % 2 === 0;
}
