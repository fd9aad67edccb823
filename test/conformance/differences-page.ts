import type { Lack } from './backends.ts'
import type { Difference } from './differences.ts'

/** The page docs/conformance.md. */
export function differencesPage(cases: number, differences: readonly Difference[], lacks: readonly Lack[]): string {
  const rows = differences.map(({ backends, case: name, instead, judge, sometimes }) =>
    row([name, backends.join(', '), sometimes ? `${instead} (not always)` : instead, judge]),
  )
  return `# Conformance

\`@shardwise/local\` is a model of Kinesis written for this project. So that the project doesn't only agree with itself,
${cases} behaviours of Kinesis that matter to its clients are written down as cases, and the same cases run against other
people's models too:

- \`@shardwise/local\`, with the SDK's own handler, over HTTP/2;
- [kinesis-local](https://www.npmjs.com/package/kinesis-local) 0.6.2, the npm build of kinesis-mock, over HTTP/1.1;
- [LocalStack](https://www.localstack.cloud), which hands most requests on to kinesis-local and answers SubscribeToShard
  itself, over HTTP/1.1: in a container where a Docker engine answers, or at the URL in \`LOCALSTACK_ENDPOINT\`; left out
  otherwise.

\`\`\`sh
npx vitest run test/conformance
LOCALSTACK_ENDPOINT=http://127.0.0.1:4566 npx vitest run test/conformance
\`\`\`

\`@shardwise/local\` passes all cases. Where another model answers otherwise, AWS's documentation is the judge; where that is
silent, it is what has been observed of the service, by the tests of
[kinesalite](https://github.com/mhart/kinesalite), which were written against it. A case asserts what the judge says, and a
difference has to show as the table has it: a test fails when it is gone. No case has been run against AWS itself.

Not asked of the others:
${lacks.map(({ need, why }) => `- cases that need ${need}: ${why}.`).join('\n')}

${row(['behaviour', 'differs in', 'what it does instead', 'why the case is right'])}
| --- | --- | --- | --- |
${rows.join('\n')}
`
}

function row(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}
