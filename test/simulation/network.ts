import type { Random } from '@shardwise/core'
import { EventLink, type EventLinkOptions } from './event-link.ts'
import type { SimulatedProcess } from './process.ts'
import { between, chance } from './randomness.ts'
import type { VirtualTime } from './virtual-time.ts'

export type ServiceName = 'kinesis' | 'dynamodb'

/** What may happen to requests, as probabilities. */
export interface Weather {
  /** The request never arrives. */
  readonly lost: number
  /** It is executed, but its answer never arrives. */
  readonly answerLost: number
  /** It is executed after its sender has given it up. */
  readonly late: number
  /** Added to every way there and back, at most, in milliseconds. */
  readonly slowMs: number
}

export const FAIR: Weather = { lost: 0, answerLost: 0, late: 0, slowMs: 0 }

/** Which direction between a process and a service is cut. */
export type Cut = 'none' | 'requests' | 'answers'

export interface Call<Answer> {
  readonly process: SimulatedProcess
  readonly service: ServiceName
  /** When its sender gives it up; Infinity if it waits for ever. */
  readonly timeoutMs: number
  /** What is late comes after so many times this. Default: the timeout. */
  readonly lateMs?: number
  readonly signal: AbortSignal | undefined
  /** At the service, in one piece; what it throws is the service's answer too. */
  readonly execute: () => Answer
  readonly describe: () => string
  /** Asked when the request arrives: whether it is taken and never looked at. */
  readonly isHung?: () => boolean
}

export interface NetworkOptions {
  readonly time: VirtualTime
  readonly random: Random
  /** One way, with nothing wrong, at most. */
  readonly wayMs: number
  readonly weather: (service: ServiceName) => Weather
  readonly cut: (process: SimulatedProcess, service: ServiceName) => Cut
  readonly trace: (process: string, text: () => string) => void
}

/** What is late arrives after so many times the time that its sender waits. */
const LATE = [1, 4] as const
/** Of what is lost, so much breaks the connection, which shows at once; the rest is only missed. */
const RESETS = 0.5
/** Of what is on its way when its sender dies, so much gets lost. */
const LOST_WITH_SENDER = 0.5

/** Carries requests from processes to services and answers back, as well as the weather allows. */
export class Network {
  readonly #options: NetworkOptions

  constructor(options: NetworkOptions) {
    this.#options = options
  }

  /** Events from a service, by the same ways. */
  open<Event>(options: EventLinkOptions<Event>): EventLink<Event> {
    return new EventLink(this.#options, options)
  }

  call<Answer>(call: Call<Answer>): Promise<Answer> {
    const { process, service, timeoutMs, lateMs = timeoutMs, signal, execute, describe, isHung } = call
    const { time, random, wayMs, weather, cut, trace } = this.#options
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(abortError())
        return
      }
      process.sent()
      const { lost, answerLost, late, slowMs } = weather(service)
      const oneWayMs = (): number => between(random, wayMs / 10, wayMs) + random() * slowMs
      const isLost = chance(random, lost)
      const isAnswerLost = chance(random, answerLost)
      const breaks = chance(random, RESETS)
      const diesWithSender = chance(random, LOST_WITH_SENDER)
      const { aheadMs } = process
      const thereMs = aheadMs + (chance(random, late) ? lateMs * between(random, ...LATE) : oneWayMs())
      const backMs = oneWayMs()

      let isSettled = false
      const settle = (how: () => string, act: () => void): void =>
        process.enter(() => {
          if (isSettled) return
          isSettled = true
          signal?.removeEventListener('abort', onAbort)
          if (timer !== undefined) time.cancel(timer)
          trace(process.name, () => `${describe()} ${how()}`)
          act()
        })
      const fail = (error: Error): void =>
        settle(
          () => `fails: ${error.name} ${error.message}`,
          () => reject(error),
        )
      const onAbort = (): void => {
        isSettled = true
        if (timer !== undefined) time.cancel(timer)
        reject(abortError())
      }
      const giveUp = (): void => fail(named('TimeoutError', `no answer within ${timeoutMs} ms`))
      const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : time.after(aheadMs + timeoutMs, giveUp)
      signal?.addEventListener('abort', onAbort, { once: true })

      time.after(thereMs, () => {
        const way = cut(process, service)
        if (isLost || way === 'requests' || (process.isDead && diesWithSender)) {
          trace(process.name, () => `${describe()} is lost on its way`)
          if (breaks && way !== 'requests') time.after(backMs, () => fail(connectionReset()))
          return
        }
        if (isHung?.()) {
          trace(process.name, () => `${describe()} hangs`)
          return
        }
        let answer: Answer | undefined
        let error: Error | undefined
        try {
          answer = execute()
        } catch (thrown) {
          error = thrown as Error
        }
        if (isAnswerLost || cut(process, service) === 'answers') {
          trace(process.name, () => `${describe()} is done and its answer lost`)
          if (breaks && cut(process, service) === 'none') time.after(backMs, () => fail(connectionReset()))
          return
        }
        time.after(backMs, () => {
          if (error !== undefined) fail(error)
          else
            settle(
              () => 'is answered',
              () => resolve(answer as Answer),
            )
        })
      })
    })
  }
}

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name })
}

function connectionReset(): Error {
  return Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
}

function abortError(): Error {
  return named('AbortError', 'Request aborted')
}
