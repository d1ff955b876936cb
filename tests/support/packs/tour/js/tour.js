export const tour = "a pack's script";
