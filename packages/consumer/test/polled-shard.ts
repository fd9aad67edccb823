import type { Random } from '@shardwise/core'
import { ReadPace } from '../src/retrieval/read-pace.ts'

const CALLS_PER_SECOND = 5
const BYTES_PER_SECOND = 2 * 2 ** 20
const FULL_BYTES = 10 * 2 ** 20
const AFTER_FULL_MS = 5_000

/** A rate with a second's worth of burst, which may go into debt. */
class Quota {
  readonly #perSecond: number
  #left: number
  #atMs = 0

  constructor(perSecond: number) {
    this.#perSecond = perSecond
    this.#left = perSecond
  }

  left(nowMs: number): number {
    this.#left = Math.min(this.#perSecond, this.#left + ((nowMs - this.#atMs) / 1_000) * this.#perSecond)
    this.#atMs = nowMs
    return this.#left
  }

  take(amount: number): void {
    this.#left -= amount
  }
}

/** An application that polls a shard all the time. */
export interface Poller {
  readonly idleTimeBetweenReads?: number
  readonly fromMs?: number
  readonly untilMs?: number
  /** What it finds at this time: the bytes of an answer that may be as large as it likes, and whether more is left. */
  readonly finds: (nowMs: number) => { readonly records: number; readonly bytes: number; readonly isBehind: boolean }
  /** How long an answer takes. Default: 10 ms, more or less. */
  readonly tripMs?: () => number
}

export interface Polled {
  /** When calls were sent that were answered, and what they brought. */
  readonly answered: { readonly atMs: number; readonly bytes: number }[]
  readonly throttled: number[]
  readonly pace: ReadPace
}

/** What becomes of applications that poll one shard, whose limits are the service's. */
export function pollTogether(pollers: readonly Poller[], untilMs: number, random: Random): Polled[] {
  const calls = new Quota(CALLS_PER_SECOND)
  const bytes = new Quota(BYTES_PER_SECOND)
  let openMs = 0
  const agenda: { readonly atMs: number; readonly run: (nowMs: number) => void }[] = []
  const polled = pollers.map((poller): Polled => {
    const { fromMs = 0, idleTimeBetweenReads = 200, tripMs = () => 5 + 10 * random(), finds } = poller
    const pace = new ReadPace(idleTimeBetweenReads, fromMs, random)
    const answered: Polled['answered'] = []
    const throttled: number[] = []
    const send = (sentMs: number): void => {
      if (sentMs >= (poller.untilMs ?? untilMs)) return
      pace.sent(sentMs)
      const wayMs = tripMs() / 2
      const backMs = sentMs + 2 * wayMs
      const next = (): void => void agenda.push({ atMs: Math.max(backMs, pace.nextMs), run: send })
      agenda.push({
        atMs: sentMs + wayMs,
        run: (nowMs) => {
          if (calls.left(nowMs) < 1 || bytes.left(nowMs) <= 0 || nowMs < openMs) {
            throttled.push(sentMs)
            const refused = (): void => {
              pace.throttled(backMs)
              next()
            }
            agenda.push({ atMs: backMs, run: refused })
            return
          }
          const found = finds(nowMs)
          const answer = { ...found, bytes: Math.min(found.bytes, pace.answerBytes) }
          calls.take(1)
          bytes.take(answer.bytes)
          if (answer.bytes >= FULL_BYTES) openMs = nowMs + AFTER_FULL_MS
          answered.push({ atMs: sentMs, bytes: answer.bytes })
          const came = (): void => {
            pace.answered(answer, backMs)
            next()
          }
          agenda.push({ atMs: backMs, run: came })
        },
      })
    }
    agenda.push({ atMs: fromMs, run: send })
    return { answered, throttled, pace }
  })
  while (agenda.length > 0) {
    const index = agenda.reduce((least, { atMs }, at) => (atMs < agenda[least]!.atMs ? at : least), 0)
    const [{ atMs, run }] = agenda.splice(index, 1) as [(typeof agenda)[number]]
    if (atMs > untilMs) break
    run(atMs)
  }
  return polled
}
