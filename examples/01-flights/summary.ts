import type { Display } from './display.ts'
import { bytes, count, decimals, seconds, table } from './format.ts'
import type { Ledger } from './ledger.ts'
import type { Source, Total } from './source.ts'
import type { Verdict } from './verdict.ts'

const TOP = 10

/** The keys with the most records: a header and at most ten rows. */
export function topTable(totals: ReadonlyMap<string, Total>, words: Source['words']): string[] {
  const top = [...totals].sort(([, a], [, b]) => b.count - a.count).slice(0, TOP)
  const rows = top.map(([key, { count: records, sum }]) => [key, count(records), decimals(sum / records, 2)])
  return table([[words.key, words.records, words.mean], ...rows], [1, 2])
}

/** What is said at the end. */
export function printSummary(
  display: Display,
  {
    ledger,
    words,
    elapsedMs,
    verdict,
  }: { ledger: Ledger; words: Source['words']; elapsedMs: number; verdict: Verdict },
): void {
  const perSecond = 1_000 / Math.max(1, elapsedMs)
  const [header = '', ...rows] = topTable(ledger.totals, words)
  display.line('')
  display.line(header, 'bold')
  for (const row of rows) display.line(row)
  display.line('')
  display.line(
    `${count(ledger.delivered)} ${words.records}, ${bytes(ledger.deliveredBytes)}, in ${seconds(elapsedMs)}: ` +
      `${count(ledger.delivered * perSecond)} records/s, ${bytes(ledger.deliveredBytes * perSecond)}/s, ` +
      `${count(ledger.userRecordsPerKinesisRecord)} user records per Kinesis record`,
  )
  const { repeats } = verdict
  display.line(
    `delivered more than once: resent at the split ${count(repeats.resent)}, ` +
      `unknown outcome ${count(repeats.unknownOutcome)}, replayed after the kill ${count(repeats.replayed)}, ` +
      `unexplained ${count(repeats.unexplained)}`,
  )
  display.line('')
  for (const { holds, what, detail } of verdict.findings) {
    display.line(`${holds ? '✓ ok    ' : '✗ FAILED'}  ${what} (${detail})`, holds ? 'green' : 'red')
  }
}
