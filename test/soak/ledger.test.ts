import { expect, test } from 'vitest'
import { Ledger } from './ledger.ts'

/** A ledger with so many puts of the key `k`, numbered from 0. */
function ledgerOf(puts: number, isOrdered = true): Ledger {
  const ledger = new Ledger()
  for (let number = 0; number < puts; number++) expect(ledger.put('k', isOrdered)).toBe(number)
  return ledger
}

test('what was acknowledged and found in order is as it should be, however much it is', () => {
  const ledger = ledgerOf(5_000)
  for (let number = 0; number < 5_000; number++) {
    ledger.acknowledge('k', number, false)
    ledger.find('k', number, false)
  }
  expect(ledger.violations()).toEqual([])
})

test('a record that was acknowledged and not found is lost, and so is one that was only found where it does not belong', () => {
  const ledger = ledgerOf(2)
  ledger.acknowledge('k', 0, false)
  ledger.acknowledge('k', 1, true)
  ledger.find('k', 1, true)
  expect(ledger.violations()).toEqual(['acknowledged and lost: k: 0', 'acknowledged and lost: k: 1'])
})

test('several copies have to be announced, one of them may be misplaced', () => {
  const ledger = ledgerOf(3)
  for (let number = 0; number < 3; number++) {
    ledger.find('k', number, number === 2)
    ledger.find('k', number, false)
    ledger.acknowledge('k', number, number === 1)
  }
  expect(ledger.violations()).toEqual(['there twice, unsaid: k: 0', 'there twice, unsaid: k: 2'])
  expect(ledger.repeated).toBe(3)
})

test('first copies have to be in order, unless no order was asked for', () => {
  const misread = (isOrdered: boolean): string[] => {
    const ledger = ledgerOf(3, isOrdered)
    for (const number of [0, 2, 1, 0]) ledger.find('k', number, false)
    for (let number = 0; number < 3; number++) ledger.acknowledge('k', number, true)
    return ledger.violations()
  }
  expect(misread(true)).toEqual(['order: k: 1 was first read after 2'])
  expect(misread(false)).toEqual([])
})

test('a record that was rejected may be there only if its outcome is unknown, and every record has to be settled', () => {
  const ledger = ledgerOf(4)
  ledger.reject('k', 0, 'refused')
  ledger.reject('k', 1, 'unknown')
  ledger.reject('k', 2, 'refused')
  ledger.find('k', 0, false)
  ledger.find('k', 1, false)
  expect(ledger.violations()).toEqual(['there though refused: k: 0', 'never settled: k: 3'])
})
