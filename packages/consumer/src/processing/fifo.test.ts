import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from './fifo.ts'

test('first in, first out, however pushing and taking take turns', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -40, max: 60 }), { maxLength: 100 }), (turns) => {
      const fifo = new Fifo<number>()
      let pushed = 0
      let taken = 0
      for (const turn of turns) {
        for (let count = 0; count < turn; count++) fifo.push(pushed++)
        for (let count = 0; count > turn; count--) {
          expect(fifo.first).toBe(taken < pushed ? taken : undefined)
          expect(fifo.shift()).toBe(taken < pushed ? taken++ : undefined)
        }
        expect(fifo.length).toBe(pushed - taken)
      }
    }),
  )
})

test('a long one is taken from the front in no time', () => {
  const fifo = new Fifo<number>()
  for (let number = 0; number < 300_000; number++) fifo.push(number)
  for (let number = 0; number < 300_000; number++) if (fifo.shift() !== number) throw new Error(`expected ${number}`)
  expect(fifo.length).toBe(0)
})
