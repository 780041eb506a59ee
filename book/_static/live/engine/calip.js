export function calipLogits() {}
