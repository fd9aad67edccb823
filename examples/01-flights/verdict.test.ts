import { describe, expect, test } from 'vitest'
import { type EarlierCopy, Ledger } from './ledger.ts'
import type { Total } from './source.ts'
import { judge, type Kill, type Verdict } from './verdict.ts'

const WORDS = { records: 'flights', key: 'airport', keys: 'airports' }
const KEYS = ['ATL', 'ORD', 'ATL', 'ATL']

/** Where the receipts say the records are: all in one Kinesis record, one after the other. */
const receiptOf = (number: number, earlierCopy?: EarlierCopy) => ({
  shardId: 'shardId-000000000000',
  sequenceNumber: '100',
  subSequenceNumber: number,
  earlierCopy,
})

interface Delivered {
  readonly at: number
  readonly worker?: number
  readonly key?: string
  readonly crc?: number
  readonly value?: number
  readonly sequenceNumber?: string
}

/** A run of four records of which everything is as it should be but what the test says. */
class Run {
  readonly ledger = new Ledger(KEYS.length)
  kill: Kill | undefined
  readonly expected = new Map<string, Total>([
    ['ATL', { count: 3, sum: 30 }],
    ['ORD', { count: 1, sum: 10 }],
  ])

  constructor({ acknowledged = KEYS.length, earlierCopy }: { acknowledged?: number; earlierCopy?: EarlierCopy } = {}) {
    for (const [number, key] of KEYS.entries()) {
      this.ledger.notePut(key, 100, number)
      if (number < acknowledged) this.ledger.noteReceipt(number, receiptOf(number, earlierCopy))
    }
  }

  deliver(
    number: number,
    { at, worker = 0, key = KEYS[number]!, crc = number, value = 10, ...place }: Delivered,
  ): this {
    this.ledger.noteDelivery({ number, at, key, crc, value, bytes: 100, ...receiptOf(number), ...place }, worker)
    return this
  }

  deliverAll(): this {
    for (const number of KEYS.keys()) this.deliver(number, { at: 10 * number })
    return this
  }

  judge(): Verdict {
    return judge({ ledger: this.ledger, expected: this.expected, kill: this.kill, words: WORDS })
  }
}

/** What failed, with its detail. */
function failures(verdict: Verdict): string[] {
  expect(verdict.holds).toBe(verdict.findings.every(({ holds }) => holds))
  return verdict.findings.filter(({ holds }) => !holds).map(({ what, detail }) => `${what}: ${detail}`)
}

describe('the verdict', () => {
  test('is good when everything came once, in order and intact', () => {
    const verdict = new Run().deliverAll().judge()
    expect(failures(verdict)).toEqual([])
    expect(verdict.repeats).toEqual({ resent: 0, unknownOutcome: 0, replayed: 0, unexplained: 0 })
  })

  test('finds what was not acknowledged', () => {
    expect(failures(new Run({ acknowledged: 3 }).deliverAll().judge())).toEqual([
      'every put was acknowledged: 3 of 4; first missing: number 3, key ATL',
    ])
  })

  test('finds what was not delivered', () => {
    const run = new Run().deliver(0, { at: 0 }).deliver(2, { at: 2 }).deliver(3, { at: 3 })
    expect(failures(run.judge())).toEqual([
      'every one of the flights was delivered: 3 of 4; first missing: number 1, key ORD',
      'count and sum of each airport equal a direct scan of the file: 1 differ; ORD: file 1 adding up to 10, delivered none',
    ])
  })

  test('finds what was never put', () => {
    const ledger = new Ledger(1)
    const verdict = judge({ ledger, expected: new Map(), words: WORDS })
    expect(failures(verdict)).toContain('every put was acknowledged: 0 of 1; first missing: number 0, never put')
  })

  test.each([
    ['data', { crc: 99 }],
    ['key', { key: 'ORD' }],
    ['unknown key', { key: 'XXX' }],
  ])('finds altered %s', (_what, altered) => {
    const run = new Run().deliverAll().deliver(3, { at: 40, ...altered })
    expect(failures(run.judge())[0]).toContain(
      'what was delivered is what was put, to the byte: 1 altered; first: number 3',
    )
  })

  test('finds a number that was never put', () => {
    const run = new Run().deliverAll()
    run.ledger.noteDelivery({ number: 4, at: 1, key: 'ATL', crc: 0, value: 1, bytes: 1, ...receiptOf(4) }, 0)
    expect(failures(run.judge())[0]).toContain('1 altered; first: number 4')
  })

  test('finds a sum that is off', () => {
    const run = new Run()
    for (const number of KEYS.keys()) run.deliver(number, { at: number, value: number === 2 ? 11 : 10 })
    expect(failures(run.judge())).toEqual([
      'count and sum of each airport equal a direct scan of the file: 1 differ; ATL: file 3 adding up to 30, delivered 3 adding up to 31',
    ])
  })

  test('finds first deliveries of a key out of put order, and minds other keys not', () => {
    const run = new Run().deliver(0, { at: 5 }).deliver(1, { at: 1 }).deliver(2, { at: 30 }).deliver(3, { at: 20 })
    expect(failures(run.judge())).toEqual([
      'by airport, first deliveries came in put order: 1 out of order; ATL: ' +
        'number 3 by worker-1 from shardId-000000000000 100:3 before number 2 by worker-1 from shardId-000000000000 100:2',
    ])
  })

  test('goes by the time of delivery, not by the order in which reports arrive', () => {
    const run = new Run({ earlierCopy: 'misplaced' })
      .deliver(1, { at: 1 })
      .deliver(3, { at: 30 })
      .deliver(2, { at: 20 })
    run.deliver(0, { at: 40 }).deliver(0, { at: 0, sequenceNumber: '99' })
    const verdict = run.judge()
    expect(failures(verdict)).toEqual([])
    expect(verdict.repeats.resent).toBe(1)
  })

  test('finds a receipt that names a place where the record was not read', () => {
    const run = new Run().deliver(0, { at: 0, sequenceNumber: '99' })
    for (const number of [1, 2, 3]) run.deliver(number, { at: number })
    expect(failures(run.judge())).toEqual(['each was read where its receipt says it is: 1 were not; first: number 0'])
  })
})

describe('a second delivery', () => {
  const kill = { worker: 0, at: 1_000 }

  test('after the kill, of what the killed worker had delivered, is a replay', () => {
    const run = new Run().deliverAll().deliver(2, { at: 2_000, worker: 1 })
    run.kill = kill
    const verdict = run.judge()
    expect(failures(verdict)).toEqual([])
    expect(verdict.repeats.replayed).toBe(1)
  })

  test.each([
    ['nobody was killed', undefined, [{ at: 2_000, worker: 1 }]],
    ['it came before the kill', kill, [{ at: 900, worker: 1 }]],
    ['the killed worker itself repeats', kill, [{ at: 900, worker: 0 }]],
    ['the survivor repeats its own', { worker: 1, at: 1_000 }, [{ at: 2_000, worker: 0 }]],
  ] as const)('is unexplained when %s', (_why, killed, repeats) => {
    const run = new Run().deliverAll()
    for (const repeat of repeats) run.deliver(2, repeat)
    run.kill = killed
    const verdict = run.judge()
    expect(verdict.repeats.unexplained).toBe(1)
    expect(failures(verdict)).toEqual([
      expect.stringContaining('has its cause: 1 without; first: ATL, number 2 by worker-'),
    ])
  })

  test('is a replay only once', () => {
    const run = new Run().deliverAll().deliver(2, { at: 2_000, worker: 1 }).deliver(2, { at: 3_000, worker: 1 })
    run.kill = kill
    expect(run.judge().repeats).toMatchObject({ replayed: 1, unexplained: 1 })
  })

  test.each([
    ['misplaced', 'resent'],
    ['unknown', 'unknownOutcome'],
    [undefined, 'unexplained'],
  ] as const)('from another place, with an earlier copy that is %s, counts as %s', (earlierCopy, cause) => {
    const run = new Run({ earlierCopy }).deliverAll().deliver(2, { at: 50, worker: 1, sequenceNumber: '200' })
    expect(run.judge().repeats[cause]).toBe(1)
  })
})
