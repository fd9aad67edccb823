import { seededRandom } from '@shardwise/core/testing'
import { describe, expect, test } from 'vitest'
import { lightenAbortSignals } from './abort-signals.ts'
import { integer, pick } from './randomness.ts'

const RUNS = 500
const OPERATIONS = 30

/** Does random things with controllers, composites and listeners, and tells all that can be seen of them. */
function story(seed: number): string[] {
  const random = seededRandom(seed)
  const controllers = Array.from({ length: 3 }, () => new AbortController())
  const signals: AbortSignal[] = controllers.map(({ signal }) => signal)
  const told: string[] = []
  const listeners = Array.from({ length: 4 }, (_, index) => (event: Event) => {
    told.push(`${index} hears ${event.type} of ${signals.indexOf(event.target as AbortSignal)}`)
    for (const [at, signal] of signals.entries()) told.push(`${at} ${signal.aborted} ${String(signal.reason)}`)
  })
  for (let left = OPERATIONS; left > 0; left--) {
    const signal = pick(random, signals)
    switch (integer(random, 0, 5)) {
      case 0:
        if (signals.length < 10) signals.push(AbortSignal.any([signal, pick(random, signals)]))
        break
      case 1:
      case 2:
        signal.addEventListener('abort', pick(random, listeners), { once: random() < 0.5 })
        break
      case 3:
        signal.removeEventListener('abort', pick(random, listeners))
        break
      case 4:
        if (random() < 0.3) pick(random, controllers).abort(`reason ${left}`)
        break
      default:
        told.push(`${signals.indexOf(signal)} ${signal.aborted} ${String(signal.reason)}`)
    }
  }
  return told
}

test('light signals do as the platform’s', () => {
  let heard = 0
  for (let seed = 1; seed <= RUNS; seed++) {
    const expected = story(seed)
    const restore = lightenAbortSignals()
    try {
      expect(inOrderOfSignals(story(seed)), `seed ${seed}`).toEqual(inOrderOfSignals(expected))
    } finally {
      restore()
    }
    heard += expected.filter((line) => line.includes('hears')).length
  }
  expect(heard).toBeGreaterThan(RUNS)
})

/** Composites of one source are told in any order, and each with what is to be seen then. */
function inOrderOfSignals(lines: readonly string[]): string[] {
  return [...lines].sort()
}

describe('a light signal', () => {
  const restore = lightenAbortSignals()
  const { AbortController: Controller, AbortSignal: Signal } = globalThis
  restore()
  const native = new AbortController()

  test('is aborted with the platform’s reason by default', () => {
    const controller = new Controller()
    controller.abort()
    expect(controller.signal.reason).toBeInstanceOf(DOMException)
    expect(() => controller.signal.throwIfAborted()).toThrow('aborted')
    expect(Signal.abort('at once').reason).toBe('at once')
  })

  test('takes one of the platform’s among those that it follows', () => {
    const heard: unknown[] = []
    const either = Signal.any([native.signal, new Controller().signal])
    either.addEventListener('abort', () => heard.push(either.reason))
    native.abort('from outside')
    expect(heard).toEqual(['from outside'])
    expect(Signal.any([native.signal]).aborted).toBe(true)
  })

  test('has no composite hold on to it that nobody listens to', () => {
    const heard: number[] = []
    const controller = new Controller()
    const composites = [1, 2, 3].map(() => Signal.any([controller.signal]))
    const hear = (): unknown => heard.push(1)
    composites[0]!.addEventListener('abort', hear)
    composites[1]!.addEventListener('abort', hear)
    composites[1]!.removeEventListener('abort', hear)
    controller.abort()
    expect(heard).toEqual([1])
    expect(composites.every(({ aborted }) => aborted)).toBe(true)
  })
})
