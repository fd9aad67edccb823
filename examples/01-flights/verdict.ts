import type { Copy, Ledger, Place } from './ledger.ts'
import type { Total } from './source.ts'

/** The worker that was killed, and when the signal was sent. */
export interface Kill {
  readonly worker: number
  /** Nanoseconds, on the clock of the deliveries. */
  readonly at: number
}

/** One thing that must hold. */
interface Finding {
  readonly holds: boolean
  readonly what: string
  /** Figures when it holds, the first offender when it doesn't. */
  readonly detail: string
}

/** Deliveries after a record's first, by what they come from. */
interface Repeats {
  resent: number
  unknownOutcome: number
  replayed: number
  unexplained: number
  firstUnexplained?: string
}

export interface Verdict {
  readonly findings: readonly Finding[]
  readonly repeats: Repeats
  readonly holds: boolean
}

export interface VerdictInput {
  readonly ledger: Ledger
  /** From the file itself. */
  readonly expected: ReadonlyMap<string, Total>
  readonly kill?: Kill | undefined
  readonly words: { readonly records: string; readonly key: string; readonly keys: string }
}

/** Whether the job kept every promise; each finding is judged by itself. */
export function judge({ ledger, expected, kill, words }: VerdictInput): Verdict {
  const repeats = explainRepeats(ledger, kill)
  const findings: Finding[] = [
    everyRecord(`every put was acknowledged`, ledger, (number) => ledger.receiptOf(number) !== undefined),
    everyRecord(
      `every one of the ${words.records} was delivered`,
      ledger,
      (n) => ledger.firstDelivery(n) !== undefined,
    ),
    {
      what: 'what was delivered is what was put, to the byte',
      holds: ledger.altered === 0,
      detail: ledger.altered === 0 ? 'CRC-32 of each' : `${ledger.altered} altered; first: ${ledger.firstAltered}`,
    },
    sameTotals(ledger.totals, expected, words),
    inPutOrder(ledger, words.key),
    receiptsAreTrue(ledger),
    {
      what: 'every delivery beyond the first has its cause',
      holds: repeats.unexplained === 0,
      detail:
        repeats.unexplained === 0
          ? `${repeats.resent + repeats.unknownOutcome + repeats.replayed} such deliveries`
          : `${repeats.unexplained} without; first: ${repeats.firstUnexplained}`,
    },
  ]
  return { findings, repeats, holds: findings.every(({ holds }) => holds) }
}

function everyRecord(what: string, ledger: Ledger, holdsFor: (number: number) => boolean): Finding {
  let missing = 0
  let first = -1
  for (let number = 0; number < ledger.size; number++) {
    if (holdsFor(number)) continue
    if (missing++ === 0) first = number
  }
  const found = `${(ledger.size - missing).toLocaleString('en-US')} of ${ledger.size.toLocaleString('en-US')}`
  const offender = first >= ledger.put ? `number ${first}, never put` : `number ${first}, key ${ledger.keyOf(first)}`
  return { what, holds: missing === 0, detail: missing === 0 ? found : `${found}; first missing: ${offender}` }
}

function sameTotals(
  reported: ReadonlyMap<string, Total>,
  expected: ReadonlyMap<string, Total>,
  { key, keys }: VerdictInput['words'],
): Finding {
  const what = `count and sum of each ${key} equal a direct scan of the file`
  const wrong = [...new Set([...expected.keys(), ...reported.keys()])].filter((name) => {
    const [a, b] = [expected.get(name), reported.get(name)]
    return a === undefined || b === undefined || a.count !== b.count || a.sum !== b.sum
  })
  const [first] = wrong
  if (first === undefined) return { what, holds: true, detail: `${expected.size.toLocaleString('en-US')} ${keys}` }
  const text = (total: Total | undefined): string => (total ? `${total.count} adding up to ${total.sum}` : 'none')
  const detail = `${wrong.length} differ; ${first}: file ${text(expected.get(first))}, delivered ${text(reported.get(first))}`
  return { what, holds: false, detail }
}

/** Walks the records in put order: within a key, the times of the first deliveries must not go back. */
function inPutOrder(ledger: Ledger, key: string): Finding {
  const latest = new Map<string, Copy & { readonly number: number }>()
  let late = 0
  let first = ''
  for (let number = 0; number < ledger.put; number++) {
    const delivery = ledger.firstDelivery(number)
    if (delivery === undefined) continue
    const name = ledger.keyOf(number)
    const before = latest.get(name)
    if (before === undefined || delivery.at >= before.at) latest.set(name, { number, ...delivery })
    else if (late++ === 0)
      first = `${name}: ${inWords(ledger, { number, ...delivery })} before ${inWords(ledger, before)}`
  }
  const what = `by ${key}, first deliveries came in put order`
  return { what, holds: late === 0, detail: late === 0 ? `${latest.size} in order` : `${late} out of order; ${first}` }
}

function inWords(ledger: Ledger, copy: Copy & { readonly number: number }): string {
  return `number ${copy.number} by worker-${copy.worker + 1} from ${ledger.nameOf(copy)}`
}

/** What an acknowledgement says is where it was read from. */
function receiptsAreTrue(ledger: Ledger): Finding {
  let wrong = 0
  let first = -1
  for (let number = 0; number < ledger.put; number++) {
    const isKnown = ledger.receiptOf(number) !== undefined && ledger.firstDelivery(number) !== undefined
    if (!isKnown || ledger.isConfirmed(number)) continue
    if (wrong++ === 0) first = number
  }
  const what = 'each was read where its receipt says it is'
  return {
    what,
    holds: wrong === 0,
    detail: wrong === 0 ? 'shard, sequence, sub-sequence' : `${wrong} were not; first: number ${first}`,
  }
}

/**
 * The cause of every delivery but a record's first.
 *
 * From a place that it was delivered from before: replayed, if the killed worker alone had delivered it from there, and
 * another did after the kill. From another place: a second copy in the stream, and the receipt must say why.
 */
function explainRepeats(ledger: Ledger, kill: Kill | undefined): Repeats {
  const repeats: Repeats = { resent: 0, unknownOutcome: 0, replayed: 0, unexplained: 0 }
  for (const [number, copies] of byNumber(ledger)) {
    const earlier: Copy[] = [ledger.firstDelivery(number)!]
    for (const copy of copies.sort((a, b) => a.at - b.at)) {
      const cause = causeOf(
        copy,
        earlier.filter((other) => samePlace(copy, other)),
        ledger.earlierCopyOf(number),
        kill,
      )
      if (repeats[cause]++ === 0 && cause === 'unexplained') {
        repeats.firstUnexplained = `${ledger.keyOf(number)}, ${inWords(ledger, { number, ...copy })}`
      }
      earlier.push(copy)
    }
  }
  return repeats
}

function causeOf(
  copy: Copy,
  fromSamePlace: readonly Copy[],
  earlierCopy: ReturnType<Ledger['earlierCopyOf']>,
  kill: Kill | undefined,
): 'resent' | 'unknownOutcome' | 'replayed' | 'unexplained' {
  if (fromSamePlace.length > 0) {
    const replayed =
      kill !== undefined &&
      copy.worker !== kill.worker &&
      copy.at > kill.at &&
      fromSamePlace.every(({ worker }) => worker === kill.worker)
    return replayed ? 'replayed' : 'unexplained'
  }
  if (earlierCopy === 'misplaced') return 'resent'
  return earlierCopy === 'unknown' ? 'unknownOutcome' : 'unexplained'
}

function byNumber(ledger: Ledger): Map<number, Copy[]> {
  return Map.groupBy(ledger.repeats, ({ number }) => number)
}

function samePlace(a: Place, b: Place): boolean {
  return a.kinesisRecord === b.kinesisRecord && a.subSequenceNumber === b.subSequenceNumber
}
